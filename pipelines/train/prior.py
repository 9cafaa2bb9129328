"""Train the prior p(z|c)."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from pipelines.core.errors import KaleidoError
from pipelines.core.progress import SILENT, Progress
from pipelines.models.caption_encoder import restore_encoder
from pipelines.models.hub import model_folder, model_identity
from pipelines.models.lora import merge_adapters
from pipelines.models.prior import Prior
from pipelines.train.captions import without_encoder
from pipelines.train.finished import finished_run, note_finished
from pipelines.train.loop import TrainSummary, train
from pipelines.train.options import TrainOptions, weight_settings
from pipelines.train.preference import Draw, Preference
from pipelines.train.prior_task import PriorTask, Reworded, Usual
from pipelines.train.processes import writing
from pipelines.train.schedules import OFF, replaced_share
from pipelines.train.stream import RecordStream
from pipelines.train.untrained_prior import check_width, new_prior
from pipelines.workspace.inputs import training_kinds
from pipelines.workspace.settings import PriorSettings
from pipelines.workspace.workspace import Workspace

LATER_SETTINGS = (
    "lora_rank",
    "encoder",
    "usual_z",
    "usual_share",
    "scheduled_sampling",
    "scheduled_share",
    "preference",
)
"""Settings that older checkpoints lack, where they have their defaults."""


def train_prior(
    workspace: Workspace,
    restart: bool = False,
    progress: Progress = SILENT,
    reworded: Reworded | None = None,
    draw: Draw | None = None,
) -> TrainSummary:
    """Train ``models/prior`` with the settings of ``[prior]``.

    Args:
        workspace: A workspace with data and the latents of ``prior.z_kinds``.
        restart: Discard an unfinished run instead of resuming it.
        progress: Receives progress and messages.
        reworded: Writes the captions in other words; None takes the data's.
        draw: Draws z of the prior as it is; needed for ``prior.preference``.

    Raises:
        InputMissing: If data or latents are missing.
        KaleidoError: If an unfinished run has other settings, or a size does not fit.
    """
    settings = workspace.settings.prior
    check_width(settings)
    checkpoint = workspace.logs / "prior" / "checkpoint"
    with writing(workspace, "prior", [checkpoint], restart) as ranks:
        kinds = training_kinds(workspace, settings.z_kinds)
        settings = replace(settings, z_kinds=kinds)
        progress = ranks.listener(progress)
        stream = RecordStream(workspace, kinds, settings.seed, images=False)
        kept = weight_settings(settings, workspace.settings.train) | {"data": stream.identity}
        if settings.pretrained:  # identified by its weights, not by its path
            kept["pretrained"] = model_identity(model_folder(settings.pretrained))
        for name in LATER_SETTINGS:
            if getattr(settings, name) == getattr(PriorSettings(), name):
                del kept[name]  # absent from checkpoints of versions without this setting
        if reworded is not None:
            kept["reworded"] = reworded.name
        options = TrainOptions.of(settings, workspace.settings.train)
        folder = workspace.models("prior")
        if finished := finished_run(checkpoint, folder, kept, options):
            return finished
        if stream.gaps:
            progress.message(stream.gaps)
        prior = new_prior(settings, stream, progress)
        freed = reworded is None and without_encoder(
            workspace, stream, prior, str(kept["pretrained"]), progress
        )
        task = PriorTask(
            prior,
            stream,
            settings.seed,
            settings.dropout_steps * settings.batch_size,
            settings.structure_weight,
            Usual(settings.usual_share, settings.usual_z),
            partial(_replaced_at, settings) if settings.scheduled_sampling != OFF else None,
            reworded,
            _preference(workspace, prior, draw),
        )
        summary = train(task, options, checkpoint, kept, "prior", progress)
        if ranks.first:
            if settings.lora_rank:
                merge_adapters(prior)
            if freed:
                restore_encoder(prior, model_folder(settings.pretrained))
            prior.save(folder)
            note_finished(checkpoint, folder, summary)
    return summary


def _preference(workspace: Workspace, prior: Prior, draw: Draw | None) -> Preference | None:
    weight = workspace.settings.prior.preference
    if not weight:
        return None
    if workspace.settings.train.fsdp == "on":
        raise KaleidoError(
            f"prior.preference = {weight:g}",
            "z cannot be drawn while the weights are divided among processes.",
            "Set prior.preference to 0, or train.fsdp to off.",
            code="bad-setting",
        )
    if draw is None:
        raise ValueError("prior.preference needs something that draws z")
    return Preference(prior, weight, draw)


def _replaced_at(settings: PriorSettings, start: int) -> float:
    done = start / (settings.steps * settings.batch_size)
    return replaced_share(settings.scheduled_sampling, settings.scheduled_share, done)

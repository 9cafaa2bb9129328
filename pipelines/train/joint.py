"""Train prior and denoiser together: L_DM + η · L_AR, both gradients reaching the prior's decoder.

This is the paper's way (arXiv 2405.21048, section 3). Trained one after the other, the denoiser
reads the states of a frozen prior; here the decoder also learns what the denoiser can use.
"""

from __future__ import annotations

from collections.abc import Mapping
from copy import copy
from dataclasses import asdict, replace
from pathlib import Path
from typing import NamedTuple

import torch
from torch import nn

from pipelines.core.errors import KaleidoError
from pipelines.core.progress import SILENT, Progress
from pipelines.models.caption_encoder import restore_encoder
from pipelines.models.diffusion import NESTED, Diffusion
from pipelines.models.hub import model_folder, model_identity
from pipelines.models.latent_space import AutoencoderRef, chosen_autoencoder
from pipelines.models.lora import add_adapters, merge_adapters
from pipelines.models.prior import Prior
from pipelines.train import diffusion as drawing
from pipelines.train import prior_task as planning
from pipelines.train.captions import without_encoder
from pipelines.train.diffusion import DiffusionTask, fresh_model
from pipelines.train.loop import TrainSummary, train
from pipelines.train.noise import Noise
from pipelines.train.options import TrainOptions, weight_settings
from pipelines.train.pictures import open_stream
from pipelines.train.prior_task import PriorTask
from pipelines.train.processes import writing
from pipelines.train.stream import RecordStream
from pipelines.train.task import Task
from pipelines.train.untrained_prior import check_width, new_prior
from pipelines.workspace.inputs import training_kinds
from pipelines.workspace.settings import DiffusionSettings, PriorSettings
from pipelines.workspace.workspace import Workspace

SIZES: dict[str, tuple[str, ...]] = {
    "prior": ("pretrained", "lora_rank", "z_kinds", "d_model", "d_ff", "layers", "heads")
    + ("dropout", "dropout_steps", "structure_weight", "vocab_size", "max_caption_tokens"),
    "diffusion": ("image_size", "aspect", "layers", "heads", "head_dim", "patch_size")
    + ("pixel_channels", "drop_condition", "noise_shift", "noise_draws", "naming_weight"),
}
"""Settings of both models' sections on which a joint run's weights depend."""


class Batch(NamedTuple):
    """The records of a training step.

    Attributes:
        planned: What the prior learns: c and z.
        drawn: What the denoiser learns: the same c and z, and x.
    """

    planned: planning.Batch
    drawn: drawing.Batch


class JointTask(Task):
    """The task of both models: the denoiser's terms, and the prior's, weighted by η.

    Args:
        prior: The prior's task.
        diffusion: The denoiser's task, whose gradient reaches the prior.
        eta: η, the weight of L_AR.
    """

    terms = DiffusionTask.terms + PriorTask.terms

    def __init__(self, prior: PriorTask, diffusion: DiffusionTask, eta: float) -> None:
        self._prior, self._diffusion, self._eta = prior, diffusion, eta
        self.model = nn.ModuleDict({"prior": prior.model, "diffusion": diffusion.model})

    def to(self, device: torch.device) -> None:
        """Move both models to a device."""
        self._prior.to(device)
        self._diffusion.to(device)

    def blocks(self) -> list[nn.Module]:
        """Return the blocks of both models."""
        return [*self._prior.blocks(), *self._diffusion.blocks()]

    def shards(self) -> list[nn.Module]:
        """Return the parts of both models that can be divided."""
        return [*self._prior.shards(), *self._diffusion.shards()]

    def held_out(self) -> tuple[JointTask, int]:
        """Return the task on held-out records, and their number."""
        view = copy(self)
        view._diffusion, size = self._diffusion.held_out()
        view._prior, _ = self._prior.held_out()
        return view, size

    def keys(self, start: int, count: int) -> list[str]:
        """Return the keys of `count` records of the stream from `start` on."""
        return self._diffusion.keys(start, count)

    def batch(self, start: int, count: int) -> Batch:
        """Make a batch of `count` records of the stream from `start` on.

        z is the denoiser's, which has moved with the crop of the picture.
        """
        drawn = self._diffusion.batch(start, count)
        assert drawn.z is not None  # it is no baseline
        captions, z = (drawn.caption_ids, drawn.caption_mask), (drawn.z.ids, drawn.z.mask)
        dropout = self._prior.has_dropout(start)
        return Batch(planning.Batch(*captions, *z, dropout, drawn.states), drawn)

    def weigh(self, batch: Batch, count: int) -> tuple[float, ...]:
        """Return the weights of the denoiser's terms and of the prior's."""
        return (
            *self._diffusion.weigh(batch.drawn, count),
            *self._prior.weigh(batch.planned, count),
        )

    def loss(self, batch: Batch, noise: Noise) -> torch.Tensor:
        """Return the denoiser's terms, and η times the cross-entropy of the tokens of z.

        While the prior has dropout, the denoiser reads states with dropout: gradient checkpointing
        repeats both in the backward pass, in one mode.
        """
        planned = self._prior.loss(batch.planned, noise)
        drawn = self._diffusion.loss(batch.drawn, noise)
        return torch.cat([drawn, self._eta * planned[None]])


def train_joint(
    workspace: Workspace, restart: bool = False, progress: Progress = SILENT
) -> TrainSummary:
    """Train ``models/prior`` and ``models/diffusion`` together, with the settings of ``[joint]``.

    Their sizes and kinds are those of ``[prior]`` and ``[diffusion]``.

    Args:
        workspace: A workspace with data and latents; with ``joint.start = "staged"`` also with
            both models, which go on learning.
        restart: Discard an unfinished run instead of resuming it.
        progress: Receives progress and messages.

    Raises:
        InputMissing: If data, latents or models are missing.
        KaleidoError: If an unfinished run has other settings, or a size does not fit.
    """
    how, joint = workspace.settings.train, workspace.settings.joint
    kinds = training_kinds(workspace, workspace.settings.prior.z_kinds)
    settings = replace(workspace.settings.prior, z_kinds=kinds)
    sizes = replace(
        workspace.settings.diffusion,
        z_kinds=kinds,
        batch_size=joint.batch_size,
        seed=joint.seed,
        z_noise=0.0,  # the prior learns the z of the same batch
    )
    ref = chosen_autoencoder(sizes) if sizes.space == "latents" else None
    check_width(settings)
    checkpoint = workspace.logs / "joint" / "checkpoint"
    folders = {name: workspace.models(name) for name in ("prior", "diffusion")}
    with (
        writing(workspace, "joint", [checkpoint], restart) as ranks,  # the place of its logs
        writing(workspace, "diffusion", [], restart=False),
        writing(workspace, "prior", [], restart=False),
    ):
        progress = ranks.listener(progress)
        stream = open_stream(workspace, sizes, ref, progress)
        kept = weight_settings(joint, how) | {"data": stream.identity}
        kept["autoencoder"] = None if ref is None else ref.identity
        for name, section in (("prior", settings), ("diffusion", sizes)):
            kept |= {f"{name}.{key}": asdict(section)[key] for key in SIZES[name]}
        if sizes.architecture != "transformer":
            kept |= {f"diffusion.{key}": asdict(sizes)[key] for key in ("architecture", *NESTED)}
        staged = joint.start == "staged"
        prior, model = (_staged if staged else _fresh)(
            settings, sizes, ref, stream, folders, progress
        )
        if settings.lora_rank and staged:
            add_adapters(prior, settings.lora_rank)
        source = model_folder(settings.pretrained) if settings.pretrained else None
        known = "" if source is None else model_identity(source)
        freed = without_encoder(workspace, stream, prior, known, progress)
        task = JointTask(
            PriorTask(
                prior,
                stream,
                joint.seed,
                settings.dropout_steps * joint.batch_size,
                settings.structure_weight,
            ),
            DiffusionTask(
                model,
                prior,
                stream,
                sizes.drop_condition,
                sizes.noise_draws,
                sizes.naming_weight,
                joint.seed,
                through_prior=True,
            ),
            joint.eta,
        )
        options = TrainOptions.of(joint, how)
        summary = train(task, options, checkpoint, kept, "joint", progress)
        model.images_seen += summary.images_seen
        if ranks.first:
            if settings.lora_rank:
                merge_adapters(prior)
            if freed and source is not None:
                restore_encoder(prior, source)
            prior.save(folders["prior"])
            model.prior = prior.identity
            model.save(folders["diffusion"])
    return summary


def _fresh(
    settings: PriorSettings,
    sizes: DiffusionSettings,
    ref: AutoencoderRef | None,
    stream: RecordStream,
    folders: Mapping[str, Path],
    progress: Progress,
) -> tuple[Prior, Diffusion]:
    """Make both models anew."""
    prior = new_prior(settings, stream, progress)
    return prior, fresh_model(sizes, stream, prior, prior.z_kinds, ref)


def _staged(
    settings: PriorSettings,
    sizes: DiffusionSettings,
    ref: AutoencoderRef | None,
    stream: RecordStream,
    folders: Mapping[str, Path],
    progress: Progress,
) -> tuple[Prior, Diffusion]:
    """Load both models of the workspace, which fit each other."""
    prior, model = Prior.load(folders["prior"]), Diffusion.load(folders["diffusion"])
    if model.prior != prior.identity or model.z_kinds != prior.z_kinds:
        raise KaleidoError(
            str(folders["diffusion"]),
            "it was trained on another prior, or on other kinds of z.",
            'Run `kaleido train diffusion` again, or set joint.start = "scratch".',
            code="model-mismatch",
        )
    if settings.pretrained:
        prior.freeze_encoder()
    return prior, model

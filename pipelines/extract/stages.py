"""Building the stages of kinds of latents."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from pipelines.core.errors import KaleidoError, nearest
from pipelines.core.plugins import STAGES as PLUGIN_STAGES
from pipelines.core.plugins import plugin_names
from pipelines.core.progress import Progress
from pipelines.core.stage import StageGroup
from pipelines.extract.context import StageContext, is_shipped
from pipelines.extract.plugins import plugin_stage


def build_stages(kinds: Sequence[str], context: StageContext) -> list[StageGroup]:
    """Build the stages of some kinds, not yet set up; kinds of one detector share a stage.

    Args:
        kinds: Kinds of latents; one that is named twice is built once.
        context: Its settings choose models and thresholds.

    Raises:
        InputMissing: If a model that a kind needs was not trained.
        KaleidoError: If no stage makes a kind; the nearest name is offered.
    """
    from pipelines.extract.objects import ObjectsStage

    settings = context.settings
    if settings.source == "layouts":
        return [_layouts(kind) for kind in dict.fromkeys(kinds)]
    detected = ["boxes", "colours"]
    if not settings.blobs_masks and not settings.blobs_model:
        detected.append("blobs")
    shared = [kind for kind in dict.fromkeys(kinds) if kind in detected]
    return [
        ObjectsStage(context.detector, shared) if kind in shared else _build(kind, context)
        for kind in dict.fromkeys(kinds)
        if kind not in shared[1:]
    ]


def show_notices(stages: Sequence[StageGroup], progress: Progress) -> None:
    """Tell the user what stages have to say before they begin."""
    for notice in dict.fromkeys(stage.notice for stage in stages if stage.notice):
        progress.message(notice)


def _layouts(kind: str) -> StageGroup:
    from pipelines.extract.layouts import LAYOUT_KINDS, LayoutStage

    if kind not in LAYOUT_KINDS:
        why = "layouts do not hold this kind of latent."
        raise KaleidoError(kind, why, f"They hold {', '.join(LAYOUT_KINDS)}.", code="bad-option")
    return LayoutStage(kind)


def _build(kind: str, context: StageContext) -> StageGroup:
    if kind in STAGES:
        return STAGES[kind](context)
    stage = plugin_stage(kind, context)
    if stage is None:
        known = nearest(kind, (*STAGES, "boxes", "colours", *plugin_names(PLUGIN_STAGES)))
        raise KaleidoError(kind, "no stage makes this kind of latent.", known, code="bad-option")
    return stage


def _blobs(context: StageContext) -> StageGroup:
    """Build the stage of blobs that do not come from the detector of the boxes."""
    from pipelines.extract.detectors.find import SAMS, find_segmenter
    from pipelines.extract.mask_blobs import MaskBlobsStage
    from pipelines.extract.objects import ObjectsStage
    from pipelines.extract.sam_blobs import SamBlobsStage

    settings = context.settings
    if settings.blobs_masks:
        return MaskBlobsStage(Path(settings.blobs_masks), settings.boxes_max)
    if is_shipped(settings.blobs_model):
        return ObjectsStage(context.shipped_detector, ["blobs"])
    ref = find_segmenter(settings.blobs_model, trust_weights=context.trust_weights)
    if ref.family in SAMS.values():
        return SamBlobsStage(ref)
    return ObjectsStage(context.with_thresholds(ref), ["blobs"])


def _palette(context: StageContext) -> StageGroup:
    from pipelines.extract.palette import PaletteStage

    return PaletteStage(context.settings.palette_colours)


def _tokens(context: StageContext) -> StageGroup:
    from pipelines.extract.tokenizers.find import find_tokenizer, own_tokenizer
    from pipelines.extract.tokens import TokensStage

    name = context.settings.tokens_model
    return TokensStage(find_tokenizer(name) if name else own_tokenizer(context.tokenizer))


def _descriptions(context: StageContext) -> StageGroup:
    from pipelines.extract.captioners.base import Wording
    from pipelines.extract.descriptions import DescriptionsStage
    from pipelines.extract.recaption import RecaptionStage

    settings = context.settings
    prompt = Path(settings.descriptions_prompt) if settings.descriptions_prompt else None
    wording = Wording(settings.descriptions_temperature, settings.seed)
    if settings.descriptions_server:
        from pipelines.extract.captioners.server import server_describer

        access = context.access(settings.descriptions_server, settings.descriptions_model)
        sees = settings.descriptions_send == "pictures"
        is_json = settings.descriptions_answer == "json"
        ref = server_describer(access, sees, is_json, settings.descriptions_count)
        return RecaptionStage(ref, prompt, wording)
    if settings.descriptions_model:
        return RecaptionStage(settings.descriptions_model, prompt, wording)
    folder = context.captioner
    if folder is None:
        raise KaleidoError(
            "--model",
            "no captioner is named, and the shipped one knows only scenes.",
            "Name a vision-language model, or a language model that sees only the caption: its "
            "folder, its name on the hub, or its name on a server that --server names.",
            code="bad-option",
        )
    return DescriptionsStage(folder)


def _image_latents(context: StageContext) -> StageGroup:
    from pipelines.extract.image_latents import ImageLatentsStage
    from pipelines.models.latent_space import chosen_autoencoder

    settings = context.workspace.settings.diffusion
    return ImageLatentsStage(chosen_autoencoder(settings), settings)


def _caption_states(context: StageContext) -> StageGroup:
    from pipelines.models.prior_metadata import read_prior_metadata

    workspace = context.workspace
    if not workspace.settings.prior.pretrained:  # said before the imports below, which take seconds
        read_prior_metadata(
            workspace.models("prior"),
            "Name the T5 whose encoder is meant with --pretrained, or run `kaleido train prior` "
            "first.",
        )
    from pipelines.extract.caption_states import CaptionStatesStage
    from pipelines.models.caption_encoder import chosen_encoder

    return CaptionStatesStage(chosen_encoder(workspace.settings.prior, workspace.models("prior")))


def _base_states(context: StageContext) -> StageGroup:
    from pipelines.bases.text_states import TextEncoders
    from pipelines.bases.trainable import open_trainable
    from pipelines.extract.base_states import BaseStatesStage

    settings = context.workspace.settings
    return BaseStatesStage(TextEncoders(open_trainable(settings.adapter.base), settings.base.dtype))


STAGES: dict[str, Callable[[StageContext], StageGroup]] = {
    "description": _descriptions,
    "blobs": _blobs,
    "palette": _palette,
    "tokens": _tokens,
    "image-latents": _image_latents,
    "caption-states": _caption_states,
    "base-states": _base_states,
}
"""Builds the stage of each of Kaleido's own kinds, and of the caches of training; the kinds of one
detector share an `ObjectsStage`."""

READY = ("boxes", "blobs", "palette")
"""The kinds of ``all``: they describe most of a picture in few tokens and need no training."""

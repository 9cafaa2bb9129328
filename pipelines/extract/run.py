"""Running the stages of a workspace: what `kaleido extract` calls."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from pipelines.core.errors import KaleidoError, nearest
from pipelines.core.plugins import STAGES as PLUGIN_STAGES
from pipelines.core.plugins import plugin_names
from pipelines.core.progress import SILENT, Progress
from pipelines.core.stage import Stage
from pipelines.extract.plugins import plugin_stage
from pipelines.workspace.source import holds_scenes
from pipelines.workspace.workspace import Workspace

if TYPE_CHECKING:
    from pipelines.engines.plan import Plan
    from pipelines.engines.work import RunSummary
    from pipelines.extract.detection import Detector
    from pipelines.extract.detectors.base import DetectorModel


def extract(
    workspace: Workspace,
    kinds: Sequence[str],
    workers: int | None = None,
    retry_failed: bool = False,
    progress: Progress = SILENT,
    trust_weights: bool = False,
) -> list[RunSummary]:
    """Compute latents for all data shards that lack them.

    Args:
        workspace: Its ``[extract]`` settings choose thresholds and limits.
        kinds: Kinds of latents, computed in this order, together where they can be.
        workers: Local processes; None takes the setting.
        retry_failed: Also compute the failed rows of shards that are up to date again.
        progress: Told of the work.
        trust_weights: Load a detector's checkpoint even if that may run code.

    Returns:
        One summary a kind.

    Raises:
        InputMissing: If the data, or a model that a kind needs, are missing.
        KaleidoError: If a kind is unknown.
    """
    from pipelines.engines.local import run_stages

    stages = build_stages(kinds, workspace, trust_weights, progress)
    count = workspace.settings.extract.workers if workers is None else workers
    return run_stages(workspace, stages, count, retry_failed, progress)


def plan(workspace: Workspace, kinds: Sequence[str], retry_failed: bool = False) -> list[Plan]:
    """Find what `extract` would compute, and why, without loading a model or writing a file.

    Args:
        workspace: As for `extract`, like `kinds` and `retry_failed`; it raises the same errors.
        kinds: Kinds of latents.
        retry_failed: Also count the failed rows of shards that are up to date.
    """
    from pipelines.engines.plan import plan_stages

    count = workspace.settings.extract.workers
    return plan_stages(workspace, build_stages(kinds, workspace), count, retry_failed)


def build_stages(
    kinds: Sequence[str],
    workspace: Workspace,
    trust_weights: bool = False,
    progress: Progress = SILENT,
) -> list[Stage]:
    """Build the stages of some kinds, not yet set up; those that need a detector share one.

    Args:
        kinds: Kinds of latents; one that is named twice is built once.
        workspace: Its settings choose models and thresholds.
        trust_weights: As for `extract`. No setting: a workspace from elsewhere must not say it.
        progress: Told what the user should know of the choice of models.

    Raises:
        InputMissing: If a model that a kind needs was not trained.
        KaleidoError: If no stage makes a kind; the nearest name is offered.
    """
    parts = Parts(workspace, trust_weights, progress)
    return [_build(kind, parts) for kind in dict.fromkeys(kinds)]


def _build(kind: str, parts: Parts) -> Stage:
    stage = STAGES[kind](parts) if kind in STAGES else plugin_stage(kind, parts)
    if stage is None:
        known = nearest(kind, (*STAGES, *plugin_names(PLUGIN_STAGES)))
        raise KaleidoError(kind, "no stage makes this kind of latent.", known)
    return stage


class Parts:
    """What stages are built of: settings, trained models, and parts that several stages share."""

    def __init__(
        self, workspace: Workspace, trust_weights: bool = False, progress: Progress = SILENT
    ) -> None:
        self.settings, self._workspace = workspace.settings.extract, workspace
        self.trust_weights, self._progress = trust_weights, progress

    @property
    def tokenizer(self) -> Path:
        """The folder of the visual tokenizer, where the settings name no other."""
        from pipelines.models.metadata import tokenizer_folder

        return tokenizer_folder(self._workspace)

    @property
    def captioner(self) -> Path | None:
        """The folder of the captioner that knows the data, if one does."""
        from pipelines.models.metadata import captioner_folder

        return captioner_folder(self._workspace)

    @cached_property
    def detector(self) -> Detector:
        """The detector of the settings; by default the embedded one."""
        from pipelines.embedded.paths import embedded_path
        from pipelines.extract.detectors.model import find_detector

        name = self.settings.boxes_model or str(embedded_path("detector"))
        if not self.settings.boxes_model and not holds_scenes(self._workspace):
            self._progress.message(
                "Objects are looked for by the detector of scenes, which knows seven simple shapes "
                "alone, and these data are no scenes. Name one that knows them with --model."
            )
        found = find_detector(name, self.settings.boxes_find, self.trust_weights)
        return self.detector_of(found)

    def detector_of(self, model: DetectorModel) -> Detector:
        """A detector with the thresholds of the settings."""
        from pipelines.extract.detection import Detector

        return Detector(model, self.settings.boxes_confidence, self.settings.boxes_max)


def _boxes(parts: Parts) -> Stage:
    from pipelines.extract.boxes import BoxesStage

    return BoxesStage(parts.detector)


def _blobs(parts: Parts) -> Stage:
    from pipelines.extract.blobs import BlobsStage
    from pipelines.extract.detectors.model import find_segmenter
    from pipelines.extract.detectors.sam import SamModel
    from pipelines.extract.mask_blobs import MaskBlobsStage
    from pipelines.extract.sam_blobs import SamBlobsStage

    settings = parts.settings
    if settings.blobs_masks:
        return MaskBlobsStage(Path(settings.blobs_masks), settings.boxes_max)
    if not settings.blobs_model:
        return BlobsStage(parts.detector)
    found = find_segmenter(settings.blobs_model, parts.trust_weights)
    if isinstance(found, SamModel):
        return SamBlobsStage(found)
    return BlobsStage(parts.detector_of(found))


def _palette(parts: Parts) -> Stage:
    from pipelines.extract.palette import PaletteStage

    return PaletteStage(parts.settings.palette_colours)


def _tokens(parts: Parts) -> Stage:
    from pipelines.extract.tokenizers.model import find_visual_model, own_model
    from pipelines.extract.tokens import TokensStage

    name = parts.settings.tokens_model
    return TokensStage(find_visual_model(name) if name else own_model(parts.tokenizer))


def _descriptions(parts: Parts) -> Stage:
    from pipelines.extract.captioners.base import Wording
    from pipelines.extract.descriptions import DescriptionsStage
    from pipelines.extract.recaption import RecaptionStage

    settings = parts.settings
    if settings.descriptions_model:
        prompt = Path(settings.descriptions_prompt) if settings.descriptions_prompt else None
        wording = Wording(settings.descriptions_temperature, settings.seed)
        return RecaptionStage(settings.descriptions_model, prompt, wording)
    folder = parts.captioner
    if folder is None:
        raise KaleidoError(
            "extract descriptions",
            "Kaleido ships no captioner that knows these data.",
            "Name a vision-language model, or a language model that knows the caption alone, with "
            "--model: its folder, or its name on the hub.",
        )
    return DescriptionsStage(folder)


STAGES: dict[str, Callable[[Parts], Stage]] = {
    "description": _descriptions,
    "boxes": _boxes,
    "blobs": _blobs,
    "palette": _palette,
    "tokens": _tokens,
}
"""What makes each of Kaleido's own kinds."""

READY = ("boxes", "blobs", "palette")
"""What ``all`` computes: what says most of a picture in few tokens, and needs no training."""

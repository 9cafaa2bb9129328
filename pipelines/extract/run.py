"""Running the stages of a workspace: what `kaleido extract` calls."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import TYPE_CHECKING

from pipelines.core.errors import KaleidoError, nearest
from pipelines.core.progress import SILENT, Progress
from pipelines.core.settings import ExtractSettings
from pipelines.core.stage import Stage
from pipelines.core.workspace import Workspace

if TYPE_CHECKING:
    from pipelines.engines.work import RunSummary
    from pipelines.extract.detection import Detector


def extract(
    workspace: Workspace,
    kinds: Sequence[str],
    workers: int | None = None,
    retry_failed: bool = False,
    progress: Progress = SILENT,
) -> list[RunSummary]:
    """Compute latents for all data shards that lack them.

    Args:
        workspace: Its ``[extract]`` settings choose thresholds and limits.
        kinds: Kinds of latents, computed in this order, together where they can be.
        workers: Local processes; None takes the setting.
        retry_failed: Also compute the failed rows of shards that are up to date again.
        progress: Told of the work.

    Returns:
        One summary a kind.

    Raises:
        KaleidoError: If a kind is unknown or the data are missing.
    """
    from pipelines.engines.local import run_stages

    settings = workspace.settings.extract
    stages = build_stages(kinds, settings)
    count = settings.workers if workers is None else workers
    return run_stages(workspace, stages, count, retry_failed, progress)


def build_stages(kinds: Sequence[str], settings: ExtractSettings) -> list[Stage]:
    """Build the stages of some kinds, not yet set up; those that need a detector share one.

    Raises:
        KaleidoError: If no stage makes a kind; the nearest name is offered.
    """
    for kind in kinds:
        if kind not in STAGES:
            raise KaleidoError(kind, "no stage makes this kind of latent.", nearest(kind, STAGES))
    parts = Parts(settings)
    return [STAGES[kind](parts) for kind in dict.fromkeys(kinds)]


class Parts:
    """What stages are built of: the settings, and parts that several stages share."""

    def __init__(self, settings: ExtractSettings) -> None:
        self.settings = settings

    @cached_property
    def detector(self) -> Detector:
        """The embedded detector."""
        from pipelines.embedded.paths import embedded_path
        from pipelines.extract.detection import Detector

        folder = embedded_path("detector")
        return Detector(folder, self.settings.boxes_confidence, self.settings.boxes_max)


def _boxes(parts: Parts) -> Stage:
    from pipelines.extract.boxes import BoxesStage

    return BoxesStage(parts.detector)


def _blobs(parts: Parts) -> Stage:
    from pipelines.extract.blobs import BlobsStage

    return BlobsStage(parts.detector)


def _palette(parts: Parts) -> Stage:
    from pipelines.extract.palette import PaletteStage

    return PaletteStage(parts.settings.palette_colours)


STAGES: dict[str, Callable[[Parts], Stage]] = {
    "boxes": _boxes,
    "blobs": _blobs,
    "palette": _palette,
}
"""What makes each kind, in the order in which ``all`` computes them."""

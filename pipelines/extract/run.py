"""Running the stages of a workspace: what `kaleido extract` calls."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from pipelines.core.errors import KaleidoError, nearest
from pipelines.core.progress import SILENT, Progress
from pipelines.core.settings import ExtractSettings
from pipelines.core.stage import Stage
from pipelines.core.workspace import Workspace

if TYPE_CHECKING:
    from pipelines.engines.work import RunSummary


def extract(
    workspace: Workspace,
    kinds: Sequence[str],
    workers: int | None = None,
    progress: Progress = SILENT,
) -> list[RunSummary]:
    """Compute latents for all data shards that lack them.

    Args:
        workspace: Its ``[extract]`` settings choose thresholds and limits.
        kinds: Kinds of latents, computed in this order.
        workers: Local processes; None takes the setting.
        progress: Told of the work.

    Returns:
        One summary a kind.

    Raises:
        KaleidoError: If a kind is unknown or the data are missing.
    """
    from pipelines.engines.local import run_stage

    settings = workspace.settings.extract
    stages = [build_stage(kind, settings) for kind in kinds]
    count = settings.workers if workers is None else workers
    return [run_stage(workspace, stage, count, progress) for stage in stages]


def build_stage(kind: str, settings: ExtractSettings) -> Stage:
    """Build the stage of a kind, not yet set up.

    Raises:
        KaleidoError: If no stage makes this kind; the nearest name is offered.
    """
    if kind not in STAGES:
        raise KaleidoError(kind, "no stage makes this kind of latent.", nearest(kind, STAGES))
    return STAGES[kind](settings)


def _boxes(settings: ExtractSettings) -> Stage:
    from pipelines.embedded.paths import embedded_path
    from pipelines.extract.boxes import BoxesStage

    folder = embedded_path("detector")
    return BoxesStage(folder, settings.boxes_confidence, settings.boxes_max)


def _blobs(settings: ExtractSettings) -> Stage:
    from pipelines.embedded.paths import embedded_path
    from pipelines.extract.blobs import BlobsStage

    folder = embedded_path("detector")
    return BlobsStage(folder, settings.boxes_confidence, settings.boxes_max)


def _palette(settings: ExtractSettings) -> Stage:
    from pipelines.extract.palette import PaletteStage

    return PaletteStage(settings.palette_colours)


STAGES: dict[str, Callable[[ExtractSettings], Stage]] = {
    "boxes": _boxes,
    "blobs": _blobs,
    "palette": _palette,
}
"""What makes each kind, in the order in which ``all`` computes them."""

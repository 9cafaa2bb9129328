"""Extracting latents in a workspace: the functions behind `kaleido extract`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipelines.core.progress import SILENT, Progress
from pipelines.extract.context import StageContext
from pipelines.extract.stages import build_stages, show_notices
from pipelines.workspace.parts import WHOLE, Part
from pipelines.workspace.workspace import Workspace

if TYPE_CHECKING:
    from pipelines.core.stage import StageGroup
    from pipelines.engines.base import Engine
    from pipelines.engines.plan import PendingWork
    from pipelines.engines.run import RunSummary
    from pipelines.workspace.settings import ExtractSettings


def extract(
    workspace: Workspace,
    kinds: Sequence[str],
    workers: int | None = None,
    retry_failed: bool = False,
    progress: Progress = SILENT,
    trust_weights: bool = False,
    engine: Engine | None = None,
    part: Part = WHOLE,
    verify: bool = False,
) -> list[RunSummary]:
    """Compute latents for all data shards that lack them.

    Args:
        workspace: Its ``[extract]`` settings choose models, thresholds and limits.
        kinds: Kinds of latents, computed in this order, together where they can be.
        workers: Processes; None takes the setting.
        retry_failed: Also compute the failed rows of shards that are up to date again.
        progress: Told of the work.
        trust_weights: Load a detector's checkpoint even if that may run code. No setting: a
            workspace from elsewhere must not ask for it.
        engine: Computes the shards; None takes the one of the settings.
        part: The part of the data to compute, for machines that share the workspace.
        verify: Read every shard to see whether it is damaged.

    Returns:
        One summary per kind, in the order of `kinds`.

    Raises:
        InputMissing: If the data, or a model that a kind needs, are missing.
        KaleidoError: If a kind is unknown, or a model cannot be used.
    """
    from pipelines.engines.run import run_stages

    stages = build_stages(kinds, StageContext(workspace, trust_weights))
    count = workspace.settings.extract.workers if workers is None else workers
    show_notices(stages, progress)
    engine = engine or engine_of(workspace, count, trust_weights)
    summaries = run_stages(workspace, stages, engine, retry_failed, progress, part, verify)
    return sorted(summaries, key=lambda summary: list(kinds).index(summary.kind))


def engine_of(workspace: Workspace, workers: int, trust_weights: bool) -> Engine:
    """Return the engine that the settings choose."""
    from pipelines.engines.local import LocalEngine
    from pipelines.engines.ray_cluster import RayEngine

    settings = workspace.settings.extract
    if settings.engine == "local":
        return LocalEngine(workers)
    recipe = partial(_stages_here, trust_weights, _with_absolute_paths(settings))
    return RayEngine(recipe, workers, settings.address)


def _stages_here(
    trust_weights: bool, settings: ExtractSettings, workspace: Workspace, kinds: Sequence[str]
) -> list[StageGroup]:
    """Build stages from the models of this machine; a node of a cluster calls it."""
    changed = replace(workspace, settings=replace(workspace.settings, extract=settings))
    return build_stages(kinds, StageContext(changed, trust_weights))


def _with_absolute_paths(settings: ExtractSettings) -> ExtractSettings:
    """Make relative paths of models absolute: a process of a cluster has another current folder."""
    changes: dict[str, Any] = {
        field.name: str(Path(value).resolve())
        for field in fields(settings)
        if field.name.endswith("_model")
        and (value := getattr(settings, field.name))
        and Path(value).exists()
    }
    return replace(settings, **changes)


def plan(
    workspace: Workspace,
    kinds: Sequence[str],
    retry_failed: bool = False,
    trust_weights: bool = False,
    part: Part = WHOLE,
    verify: bool = False,
) -> list[PendingWork]:
    """Find what `extract` would compute, and why, without loading a model or writing a file.

    Args:
        workspace: As for `extract`, like `kinds`, `retry_failed` and `trust_weights`; it raises the
            same errors.
        kinds: Kinds of latents.
        retry_failed: Also count the failed rows of shards that are up to date.
        trust_weights: As for `extract`.
        part: As for `extract`.
        verify: As for `extract`.
    """
    from pipelines.engines.plan import plan_stages

    stages = build_stages(kinds, StageContext(workspace, trust_weights))
    count = workspace.settings.extract.workers
    plans = plan_stages(workspace, stages, count, retry_failed, part, verify)
    return sorted(plans, key=lambda work: list(kinds).index(work.kind))

"""`kaleido evaluate --base`: a model of others draws captions, plainly and of z."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from pipelines.bases.base import load_base
from pipelines.bases.folder import open_folder
from pipelines.core.progress import SILENT, Progress
from pipelines.evaluate.folders.run import FoldersSummary, compare_folders
from pipelines.plan.with_base import (
    find_adapter,
    plain_requests,
    plan_requests,
    sample_with_base,
)
from pipelines.workspace.workspace import Workspace


def drawn_folders(name: str) -> tuple[str, str]:
    """Return the names below ``samples`` of the plain pictures and of those of z."""
    return f"{name}-plain", f"{name}-planned"


def evaluate_base(
    workspace: Workspace,
    base_name: str,
    captions: Sequence[str],
    changes: Mapping[str, Any],
    name: str = "evaluation",
    planner: str | None = None,
    z_kinds: Sequence[str] | None = None,
    progress: Progress = SILENT,
    detects: bool = False,
) -> FoldersSummary:
    """Draw captions with a base without z and with it, from the same noise, and compare both.

    Pictures of a run that was stopped are not drawn again.

    Args:
        workspace: As for `sample_with_base` and `compare_folders`; ``evaluate.n`` is the number of
            pictures of a caption.
        base_name: A folder, or a name on the hub.
        captions: The captions.
        changes: As for `sample_with_base`.
        name: The report's folder, and the beginning of those of the pictures.
        planner: As for `plan_requests`.
        z_kinds: Kinds of z to draw; None for the usual ones.
        progress: Listener.
        detects: As for `compare_folders`.

    Raises:
        KaleidoError: As these functions.
    """
    open_folder(base_name)  # a mistake in a name shows before anything takes time
    adapter = find_adapter(workspace)
    settings, count = workspace.settings, workspace.settings.evaluate.n
    sized = replace(workspace, settings=replace(settings, sample=replace(settings.sample, n=count)))
    planned, identity = plan_requests(sized, captions, z_kinds, None, progress, planner)
    of_base = settings.base
    base = load_base(base_name, of_base.dtype, of_base.offload, adapter)
    plainly, of_z = drawn_folders(name)
    plain = plain_requests(captions, count)
    sample_with_base(sized, base, plain, changes, plainly, None, progress, resume=True)
    sample_with_base(sized, base, planned, changes, of_z, identity, progress, resume=True)
    del base  # a feature network needs the memory
    return compare_folders(workspace, [plainly, of_z], name, None, progress, detects)

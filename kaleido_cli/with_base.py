"""`kaleido sample --base`: a text-to-image model of others draws."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from kaleido_cli import console
from kaleido_cli.captions import captions_of, warn_of_unknown_words
from kaleido_cli.options import read_bytes, require_place

if TYPE_CHECKING:
    from pipelines.plan.prompts import BaseRequest
    from pipelines.workspace.workspace import Workspace

_OURS = {
    "sample.sampler": "a base has its scheduler",
    "sample.speed": "a base has its own ways",
    "sample.z_noise": "an adapter reads z as if it had no noise",
}
"""Settings without a meaning for a base, and why."""


@dataclass(frozen=True)
class Wanted:
    """What the command line asks for.

    Attributes:
        caption: The caption.
        captions: A file of captions.
        from_z: A file of z.
        kinds: Kinds of z to draw; None for the usual ones.
        pool: Size of the pool from which diverse z are chosen.
        baseline: Draw the captions without z.
        planner: What draws z; None for a prior of ours.
    """

    caption: str | None
    captions: str | None
    from_z: str | None
    kinds: tuple[str, ...] | None
    pool: int | None
    baseline: bool
    planner: str | None


def require_no_base_flags(changes: Mapping[str, Any]) -> None:
    """Refuse flags that have no effect on our own models."""
    if unread := [key for key in changes if key.startswith("base.")]:
        flag = f"--{unread[0].removeprefix('base.')}"
        raise typer.BadParameter(f"{flag} is for models of others; give --base too.")


def draw_with_base(
    workspace: Workspace,
    base: str,
    wanted: Wanted,
    changes: Mapping[str, Any],
    place: str | Path | None,
    as_json: bool,
) -> None:
    """Plan the pictures, then load the base and draw: both need memory."""
    for key, why in _OURS.items():
        if key in changes:
            flag = f"--{key.removeprefix('sample.').replace('_', '-')}"
            raise typer.BadParameter(f"{flag} is for our own models; {why}.")
    require_place(workspace, place)
    asked = _captions(workspace, wanted)
    from pipelines.bases.folder import open_folder

    open_folder(base)  # a mistake in a name shows before anything takes time
    from pipelines.plan.with_base import find_adapter, sample_with_base

    find_adapter(workspace)
    requests, planner = _requests(workspace, wanted, asked)
    progress = console.ConsoleProgress()
    summary = sample_with_base(workspace, base, requests, changes, place, planner, progress)
    console.show(summary, as_json, _render)


def _captions(workspace: Workspace, wanted: Wanted) -> list[str]:
    if wanted.from_z is not None:
        return []
    asked = captions_of(wanted.caption, wanted.captions, workspace.settings.data.max_caption)
    if not asked:
        raise typer.BadParameter("--base needs a CAPTION, --captions or --from-z.")
    if not wanted.baseline and wanted.planner is None:
        warn_of_unknown_words(workspace, asked)
    return asked


def _requests(
    workspace: Workspace, wanted: Wanted, asked: list[str]
) -> tuple[list[BaseRequest], str | None]:
    """Read or draw z; also return the planner's identity, if there was one."""
    from pipelines.plan.prompts import read_base_requests
    from pipelines.plan.with_base import plain_requests, plan_requests

    if wanted.from_z is not None:
        data, label = read_bytes(wanted.from_z)
        return read_base_requests(data, label, wanted.caption), None
    if wanted.baseline:
        return plain_requests(asked, workspace.settings.sample.n), None
    progress = console.ConsoleProgress()
    return plan_requests(workspace, asked, wanted.kinds, wanted.pool, progress, wanted.planner)


def _render(summary: Any) -> None:
    how = "of z" if summary.planned else "of the captions alone"
    console.line(
        f"{summary.samples:,} samples of {summary.captions:,} captions by {summary.base} "
        f"({summary.family}), {how}"
    )
    console.line(f"Contact sheet: {summary.sheet}")

"""Options that several commands share, and opening the workspace that they name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from pipelines.workspace.workspace import Workspace

WorkspaceOption = Annotated[
    Path | None,
    typer.Option(
        "--workspace",
        "-w",
        metavar="PATH",
        help="The workspace's folder; by default the current folder or the nearest above it.",
        show_default=False,
    ),
]
JsonOption = Annotated[
    bool, typer.Option("--json", help="Print one JSON object; messages go to stderr.")
]
SeedOption = Annotated[
    int | None, typer.Option("--seed", help="Seed (default: the setting).", show_default=False)
]
ZOption = Annotated[
    str | None,
    typer.Option("--z", metavar="KINDS", help="Kinds of latents, with commas: boxes,palette."),
]


def open_workspace(path: Path | None, changes: Mapping[str, Any] | None = None) -> Workspace:
    """Find the workspace and lay the command line's changes over its settings.

    Args:
        path: What ``--workspace`` says, if anything.
        changes: ``section.key`` to value; None stands for a flag that was not given.
    """
    from pipelines.workspace.config import override
    from pipelines.workspace.workspace import Workspace

    workspace = Workspace.find(explicit=path)
    return replace(workspace, settings=override(workspace.settings, changes or {}))


def split_names(text: str | None) -> tuple[str, ...] | None:
    """Split names at their commas: kinds of latents, licences."""
    if text is None:
        return None
    names = tuple(name.strip() for name in text.split(","))
    if not all(names):
        raise typer.BadParameter(f"{text!r} is not a list of names like boxes,palette.")
    return names


def split_numbers(
    text: str | None, flag: str, kind: Callable[[str], float]
) -> tuple[float, ...] | None:
    """Split numbers at their commas; `kind` is int or float."""
    try:
        return tuple(kind(part) for part in text.split(",")) if text is not None else None
    except ValueError as error:
        raise typer.BadParameter(
            f"{text!r} is not a list of numbers like 1,2.", param_hint=flag
        ) from error

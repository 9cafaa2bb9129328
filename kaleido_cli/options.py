"""Options that several commands share, and opening the workspace that they name."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from kaleido_cli.completion import complete_kinds
from kaleido_cli.flags import changes_of
from pipelines.core.compute import choose_device
from pipelines.core.errors import KaleidoError
from pipelines.core.files import require_new
from pipelines.core.unfinished import is_abandoned
from pipelines.workspace.config import override

if TYPE_CHECKING:
    from pipelines.workspace.parts import Part
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
ZOption = Annotated[
    str | None,
    typer.Option(
        "--z",
        metavar="KINDS",
        help="Kinds of latents, with commas: boxes,palette.",
        autocompletion=complete_kinds,
    ),
]
STANDARD_INPUT = "A dash, -, stands for standard input."
"""Hint where a pipe is named as a file."""

PlannerOption = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="What plans: the folder of a prior or of an instruct language model, gguf:FILE, a "
        "name on the Hugging Face hub, or a server and its model, http://localhost:8000/v1#MODEL; "
        "by default the workspace's prior or the embedded one.",
        show_default=False,
    ),
]
DiverseOption = Annotated[
    int | None,
    typer.Option(
        "--diverse",
        min=1,
        metavar="POOL",
        help="Draw POOL z for each caption and keep the n that differ most.",
        show_default=False,
    ),
]
RequireOption = Annotated[
    list[str] | None,
    typer.Option(
        "--require",
        metavar="WHAT",
        help="What z must hold: star, star@left, count=3, star.count=2 or star.colour=blue; may be "
        "given several times.",
        show_default=False,
    ),
]
ForbidOption = Annotated[
    list[str] | None,
    typer.Option(
        "--forbid",
        metavar="WORD",
        help="A colour or a label that z must not hold; may be given several times.",
        show_default=False,
    ),
]
GivenOption = Annotated[
    str | None,
    typer.Option(
        "--given",
        metavar="FILE",
        help="A z document, or a line of samples.jsonl, whose kinds of z are kept: the prior draws "
        "the others.",
        show_default=False,
    ),
]
PartOption = Annotated[
    str | None,
    typer.Option(
        metavar="K/N",
        help="Take only part K of N of the shards, for N machines.",
        show_default=False,
    ),
]
PlacesOption = Annotated[
    str | None,
    typer.Option(
        "--only",
        metavar="NAMES",
        help="Folders of the workspace, with commas: data,latents/boxes,models. By default all "
        "but logs.",
        show_default=False,
    ),
]
UrlArgument = Annotated[
    str, typer.Argument(metavar="URL", help="Folder of the store: s3://bucket/folder.")
]


def open_workspace(
    context: typer.Context,
    path: Path | None,
    more: Mapping[str, Any] | None = None,
    under: Mapping[str, Any] | None = None,
) -> Workspace:
    """Find the workspace and apply the settings that the command line changes.

    Args:
        context: Of the command, a `settings_of`.
        path: The value of ``--workspace``, if given.
        more: Further changes that follow from the command line, ``section.key`` to value.
        under: Changes that flags override, such as a preset's.
    """
    from pipelines.workspace.workspace import Workspace

    if path is not None:
        require_local(path)
    workspace = Workspace.find(explicit=path)
    changes = dict(under or {}) | changes_of(context) | dict(more or {})
    settings = override(workspace.settings, changes)
    choose_device(settings.compute.device)
    return replace(workspace, settings=settings)


def read_part(text: str | None) -> Part:
    """Read the value of ``--part``; None is all of the data."""
    from pipelines.workspace.parts import WHOLE, Part

    return WHOLE if text is None else Part.parse(text)


def require_local(path: Path) -> None:
    """Refuse a remote address, which would become a folder of that name.

    Raises:
        KaleidoError: If the path has a scheme, such as ``s3://``.
    """
    if match := re.match(r"([A-Za-z][A-Za-z0-9+.-]+):/", str(path)):
        raise KaleidoError(
            str(path),
            f"{match[1]} addresses are not supported.",
            "Name a local folder; mounted network folders work. `kaleido push` and `kaleido pull` "
            "copy workspaces to and from stores.",
            code="bad-option",
        )


def require_place(workspace: Workspace, place: str | Path | None) -> None:
    """Refuse a place for samples that holds something.

    Args:
        workspace: Holds ``samples``.
        place: A name under it, or the path of another folder. One of a killed run is free.

    Raises:
        KaleidoError: If the folder is not empty, or is no local one.
    """
    if isinstance(place, Path):
        require_local(place)
    if place is not None:
        folder = place if isinstance(place, Path) else workspace.samples(place)
        if not is_abandoned(folder):
            require_new(folder)


def read_bytes(source: str) -> tuple[bytes, str]:
    """Read a file, or standard input for ``-``; also return its name for messages."""
    if source == "-":
        return sys.stdin.buffer.read(), "standard input"
    from pipelines.core.inputs import read_file

    return read_file(Path(source), STANDARD_INPUT), source


def split_names(text: str | None) -> tuple[str, ...] | None:
    """Split names at their commas: kinds of latents, licences."""
    if text is None:
        return None
    names = tuple(name.strip() for name in text.split(","))
    if not all(names):
        raise typer.BadParameter(f"{text!r} is not a list of names like boxes,palette.")
    return names


def read_class_names(path: Path) -> dict[int, str]:
    """Read the class names of YOLO labels.

    Raises:
        KaleidoError: If the file does not list them.
    """
    from pipelines.core.inputs import read_file
    from pipelines.documents.dialects.yolo import read_names

    data = read_file(path)
    try:
        return read_names(data)
    except ValueError as error:
        hint = "A data.yaml has `names:` with a list, or numbers and names."
        raise KaleidoError(str(path), f"{error}.", hint, code="bad-data") from error

"""`kaleido edit`."""

from __future__ import annotations

import os
import shlex
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from kaleido_cli import console
from kaleido_cli.captions import open_for_captions
from kaleido_cli.flags import settings_of
from kaleido_cli.options import JsonOption, WorkspaceOption
from pipelines.core.errors import KaleidoError

if TYPE_CHECKING:
    from pipelines.documents.document import Document
    from pipelines.sample.edit import DrawnSample

app = typer.Typer(add_completion=False)

WORDS = {"--move": 3, "--resize": 2, "--rotate": 2, "--recolour": 2}
"""Options that take several words, each time that they are given: ``--move star 200 -100``."""


class EditCommand(settings_of()):  # type: ignore[misc]  # a class made from the settings
    """A command whose options of several words may be repeated, which Typer does not offer."""

    def parse_args(self, ctx: Any, args: list[str]) -> Any:
        """Join the words of such an option into one, quoted as in a shell."""
        joined: list[str] = []
        rest = list(args)
        while rest:
            joined.append(rest.pop(0))
            count = WORDS.get(joined[-1], 0)
            if count and rest and not _has_words(rest[0], count):
                joined.append(shlex.join(rest[:count]))
                del rest[:count]
        return super().parse_args(ctx, joined)


def _has_words(text: str, count: int) -> bool:
    """Return whether a text is so many words, quoted as in a shell."""
    try:
        return len(shlex.split(text)) == count
    except ValueError:  # an apostrophe, as in "the king's hat"
        return False


@app.command(cls=EditCommand, epilog="Example: kaleido edit stars/0000-0003 --move star 200 -100")
def edit(
    context: typer.Context,
    sample: Annotated[
        str, typer.Argument(help="A picture of `kaleido sample`: its path, or NAME/0000-0003.")
    ],
    move: Annotated[
        list[str] | None,
        typer.Option("--move", metavar="WHAT DX DY", help="Move by thousandths of the picture."),
    ] = None,
    resize: Annotated[
        list[str] | None,
        typer.Option("--resize", metavar="WHAT FACTOR", help="Scale about the centre."),
    ] = None,
    rotate: Annotated[
        list[str] | None,
        typer.Option("--rotate", metavar="WHAT DEGREES", help="Turn the ellipse clockwise."),
    ] = None,
    remove: Annotated[
        list[str] | None, typer.Option("--remove", metavar="WHAT", help="Remove.")
    ] = None,
    add: Annotated[
        list[str] | None,
        typer.Option("--add", metavar="TEXT", help="Add: 'circle (100, 100, 400, 400)'."),
    ] = None,
    recolour: Annotated[
        list[str] | None,
        typer.Option("--recolour", metavar="WHAT COLOUR", help="Give a colour: star '#2050d0'."),
    ] = None,
    describe: Annotated[
        str | None, typer.Option("--describe", metavar="TEXT", help="Replace the description.")
    ] = None,
    open_editor: Annotated[
        bool, typer.Option("--open", help="Change the document in $EDITOR.")
    ] = False,
    name: Annotated[str | None, typer.Option(help="Folder under samples/.")] = None,
    out: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Write there, and not into samples/NAME.")
    ] = None,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Change what a sample shows, and draw it again with the same noise.

    WHAT is a label, or an id that `kaleido z show` prints. The picture before and after stand side
    by side; the edited sample can be edited again.
    """
    from pipelines.sample.edit import edit_sample, find_sample

    opened = open_for_captions(context, workspace, has_captions=True)
    found = find_sample(opened, sample)
    changes = _changes(found, move, resize, rotate, remove, add, recolour, describe)
    if open_editor:
        changes.append(_in_editor)
    if not changes:
        raise typer.BadParameter("name a change, such as --move star 200 -100, or --open.")
    summary = edit_sample(opened, found, changes, out or name, console.ConsoleProgress())
    console.show(summary, as_json, _render)


def _changes(
    sample: DrawnSample,
    move: list[str] | None,
    resize: list[str] | None,
    rotate: list[str] | None,
    remove: list[str] | None,
    add: list[str] | None,
    recolour: list[str] | None,
    describe: str | None,
) -> list[Callable[[Document], Document]]:
    from pipelines.documents import edit as edits

    changes: list[Callable[[Document], Document]] = []
    for what, across, down in _words("--move", move, int, int):
        changes.append(_bound(edits.move, name=what, dx=across, dy=down))
    for what, factor in _words("--resize", resize, float):
        changes.append(_bound(edits.resize, name=what, factor=factor))
    for what, degrees in _words("--rotate", rotate, float):
        changes.append(_bound(edits.rotate, name=what, degrees=degrees))
    for what, colour in _words("--recolour", recolour, str):
        present = sample.colour_of(what)
        changes.append(_bound(edits.recolour, name=what, colour=colour, present=present))
    changes += [_bound(edits.remove, name=n) for n in remove or ()]
    changes += [_bound(edits.add, text=text) for text in add or ()]
    changes += [] if describe is None else [_bound(edits.describe, text=describe)]
    return changes


def _words(
    option: str, values: list[str] | None, *types: Callable[[str], Any]
) -> Iterator[tuple[Any, ...]]:
    """Split the joined words of an option: a name, then values of these types."""
    for value in values or ():
        try:
            name, *rest = shlex.split(value)
            yield (name, *(kind(word) for kind, word in zip(types, rest, strict=True)))
        except ValueError as error:
            raise typer.BadParameter(
                f"{value!r} is not like its help.", param_hint=option
            ) from error


def _bound(change: Callable[..., Document], **arguments: Any) -> Callable[[Document], Document]:
    return partial(change, **arguments)


def _in_editor(document: Document) -> Document:
    """Hand the document to $EDITOR, indented, and read what was saved."""
    import json

    from pipelines.documents.reading import read_document

    command = os.environ.get("VISUAL") or os.environ.get("EDITOR")
    if not command:
        why = "neither VISUAL nor EDITOR names an editor."
        raise KaleidoError("--open", why, "Set it: EDITOR=nano kaleido edit …", code="bad-option")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "edited.z.json"
        form = json.loads(document.to_json())
        path.write_text(json.dumps(form, indent=2, ensure_ascii=False) + "\n", "utf-8")
        try:
            subprocess.run([*shlex.split(command), str(path)], check=True)
        except (OSError, ValueError, subprocess.CalledProcessError) as error:
            why = "the editor did not end well."
            raise KaleidoError(command, why, "Nothing was drawn.", code="bad-option") from error
        return read_document(path.read_bytes(), "the edited document")


def _render(summary: Any) -> None:
    for loss in summary.lost:
        console.line(f"left out of z: {loss}")
    console.line(f"Before and after: {summary.sheet}")
    console.line(f"Document: {summary.document}")

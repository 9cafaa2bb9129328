"""`kaleido sample`."""

from __future__ import annotations

import contextlib
import io
import os
import select
import stat
import sys
from pathlib import Path
from typing import Annotated, Any, cast

import typer

from kaleido_cli import console
from kaleido_cli.flags import settings_of
from kaleido_cli.options import (
    JsonOption,
    WorkspaceOption,
    ZOption,
    open_workspace,
    split_names,
)

app = typer.Typer(add_completion=False)

WAIT_SECONDS = 1.0
"""How long a pipe may stay silent before we take it that nobody writes to it."""


@app.command(
    cls=settings_of("sample.*"),
    epilog='Example: kaleido sample "two circles and a star" --n 16 --seed 7 --name stars',
)
def sample(
    context: typer.Context,
    caption: Annotated[
        str | None,
        typer.Argument(help="What to draw; without one, held-out captions.", show_default=False),
    ] = None,
    captions: Annotated[
        str | None,
        typer.Option(
            "--captions",
            metavar="FILE",
            help="A file with one caption a line; - is standard input, read to its end. Without "
            "CAPTION and --captions a pipe is read too, unless nothing comes for a second.",
        ),
    ] = None,
    z: ZOption = None,
    name: Annotated[
        str | None,
        typer.Option(help="Folder under samples/; by default from the caption."),
    ] = None,
    baseline: Annotated[bool, typer.Option("--baseline", help="Use the model without z.")] = False,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Draw pictures: z from the caption without guidance, then the picture with it.

    The defaults are the workspace's settings under sample. PNG files, a contact sheet and
    samples.jsonl go to samples/NAME. Without models in the workspace the embedded ones draw.
    """
    opened = open_workspace(context, workspace)
    asked = _captions(caption, captions, opened.settings.data.max_caption)

    from pipelines.sample.run import sample as draw

    progress = console.ConsoleProgress()
    summary = draw(opened, asked, opened.settings.sample, name, baseline, split_names(z), progress)
    console.show(summary, as_json, _render)


def _captions(caption: str | None, path: str | None, limit: int) -> list[str] | None:
    """Return the captions that the user gives, or None where there are none."""
    from pipelines.data.caption_files import clean_caption, read_captions

    if caption is not None and path is not None:
        raise typer.BadParameter("give a CAPTION or --captions, not both.")
    if caption is not None:
        return [clean_caption(caption, "caption", limit)]
    if path == "-" or (path is None and is_piped()):
        return read_captions(sys.stdin.buffer, "standard input", limit)
    if path is None:
        return None
    with Path(path).open("rb") as file:
        return read_captions(file, path, limit)


def is_piped() -> bool:
    """Tell whether standard input is a file or pipe with something in it.

    A program that starts us may leave us an open pipe into which nobody ever writes, so a silent
    one is not waited for; the user is told.
    """
    with contextlib.suppress(OSError, ValueError, AttributeError):
        mode = os.fstat(sys.stdin.fileno()).st_mode
        if stat.S_ISREG(mode) or (stat.S_ISFIFO(mode) and _has_spoken()):
            return bool(cast(io.BufferedReader, sys.stdin.buffer).peek(1))
    return False


def _has_spoken() -> bool:
    if select.select([sys.stdin], [], [], WAIT_SECONDS)[0]:
        return True
    console.say(
        f"Nothing has come through the pipe for {WAIT_SECONDS:g} s: standard input is not read. "
        "To wait for it, say --captions -."
    )
    return False


def _render(summary: Any) -> None:
    console.line(
        f"{summary.samples:,} samples of {summary.captions:,} captions by {summary.model} "
        f"({summary.source} models)"
    )
    console.line(f"Contact sheet: {summary.sheet}")

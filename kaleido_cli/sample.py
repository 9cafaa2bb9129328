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
from kaleido_cli.options import (
    JsonOption,
    SeedOption,
    WorkspaceOption,
    ZOption,
    open_workspace,
    split_names,
)

app = typer.Typer(add_completion=False)

WAIT_SECONDS = 1.0
"""How long a pipe may stay silent before we take it that nobody writes to it."""


@app.command(
    epilog='Example: kaleido sample "two circles and a star" --n 16 --cfg 7.5 --seed 7 --name stars'
)
def sample(
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
    n: Annotated[
        int | None,
        typer.Option("--n", "-n", help="Samples a caption.", show_default=False),
    ] = None,
    cfg: Annotated[
        float | None,
        typer.Option(help="Guidance scale; 1 is none.", show_default=False),
    ] = None,
    cfg_end: Annotated[
        float | None,
        typer.Option(
            help="Noise level, from 1 down to 0, at which guidance ends.", show_default=False
        ),
    ] = None,
    steps: Annotated[
        int | None, typer.Option(help="Steps of the sampler.", show_default=False)
    ] = None,
    seed: SeedOption = None,
    batch_size: Annotated[
        int | None, typer.Option(help="Images drawn together.", show_default=False)
    ] = None,
    temperature: Annotated[
        float | None,
        typer.Option(help="Temperature of the prior.", show_default=False),
    ] = None,
    top_p: Annotated[
        float | None,
        typer.Option(help="Nucleus of the prior; 1 keeps all.", show_default=False),
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
    changes = {
        "sample.n": n,
        "sample.cfg": cfg,
        "sample.cfg_end": cfg_end,
        "sample.steps": steps,
        "sample.seed": seed,
        "sample.batch_size": batch_size,
        "sample.temperature": temperature,
        "sample.top_p": top_p,
    }
    opened = open_workspace(workspace, changes)
    asked = _captions(caption, captions, opened.settings.data.max_caption)

    from pipelines.sample.draw import DrawOptions
    from pipelines.sample.run import sample as draw

    settings = opened.settings.sample
    options = DrawOptions(
        n=settings.n,
        cfg=settings.cfg,
        cfg_end=settings.cfg_end,
        steps=settings.steps,
        seed=settings.seed,
        temperature=settings.temperature,
        top_p=settings.top_p,
        batch_size=settings.batch_size,
    )
    progress = console.ConsoleProgress()
    summary = draw(opened, asked, options, name, baseline, split_names(z), progress)
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

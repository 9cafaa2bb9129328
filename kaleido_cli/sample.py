"""`kaleido sample`."""

from __future__ import annotations

import contextlib
import io
import os
import select
import stat
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from kaleido_cli import console
from kaleido_cli.completion import complete_samples
from kaleido_cli.flags import changes_of, settings_of
from kaleido_cli.options import (
    JsonOption,
    WorkspaceOption,
    ZOption,
    open_workspace,
    require_local,
    split_names,
)
from pipelines.core.compute import choose_device
from pipelines.core.errors import InputMissing
from pipelines.core.files import require_new
from pipelines.models.registry import uses_own_models
from pipelines.workspace.config import override
from pipelines.workspace.settings import Settings

if TYPE_CHECKING:
    from pipelines.workspace.workspace import Workspace

app = typer.Typer(add_completion=False)

NAMED = 8
"""Unknown words that a warning names."""

WAIT_SECONDS = 1.0
"""How long a pipe may stay silent before we take it that nobody writes to it."""


@app.command(
    cls=settings_of("sample.*", "compute.*"),
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
    from_z: Annotated[
        str | None,
        typer.Option(
            "--from-z",
            metavar="FILE",
            help="Draw the z of a file: z documents, or a samples.jsonl; - is standard input. "
            "The samples of a samples.jsonl keep their noise.",
        ),
    ] = None,
    z: ZOption = None,
    name: Annotated[
        str | None,
        typer.Option(
            help="Folder under samples/; by default from the caption.",
            autocompletion=complete_samples,
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Write there, and not into samples/NAME."),
    ] = None,
    baseline: Annotated[bool, typer.Option("--baseline", help="Use the model without z.")] = False,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Draw pictures: z from the caption without guidance, then the picture with it.

    PNG files, a contact sheet and samples.jsonl go to samples/NAME. Without models of your own the
    embedded ones draw; they know simple shapes, and need no workspace.
    """
    if name is not None and out is not None:
        raise typer.BadParameter("give --name or --out, not both.")
    opened = open_for_captions(context, workspace, has_captions=bool(caption or captions or from_z))
    if from_z is not None:
        if captions is not None or z is not None or baseline:
            raise typer.BadParameter("--from-z excludes --captions, --z and --baseline.")
        _draw_given(opened, from_z, caption, out or name, as_json)
        return
    asked = captions_of(caption, captions, opened.settings.data.max_caption)
    if out is not None:
        require_local(out)
    if name is not None or out is not None:
        require_new(out or opened.samples(str(name)))
    if asked and not uses_own_models(opened):
        _warn_of_unknown_words(asked)

    from pipelines.sample.run import sample as draw

    summary = draw(
        opened,
        asked,
        name=out or name,
        baseline=baseline,
        z_kinds=split_names(z),
        progress=console.ConsoleProgress(),
    )
    console.show(summary, as_json, _render)


def _draw_given(
    workspace: Workspace, source: str, caption: str | None, name: str | Path | None, as_json: bool
) -> None:
    from pipelines.sample.run import sample_from_z

    data = sys.stdin.buffer.read() if source == "-" else Path(source).read_bytes()
    label = "standard input" if source == "-" else source
    progress = console.ConsoleProgress()
    settings = workspace.settings.sample
    summary = sample_from_z(workspace, data, label, settings, caption, name, progress)
    console.show(summary, as_json, _render)


def open_for_captions(context: typer.Context, path: Path | None, has_captions: bool) -> Workspace:
    """Open the workspace; the embedded models need none, so the current folder will do."""
    from pipelines.workspace.workspace import Workspace

    try:
        return open_workspace(context, path)
    except InputMissing as error:
        if path is not None or not (has_captions or is_piped()):
            raise InputMissing(
                error.what,
                error.why,
                'Give a caption for the embedded models, `kaleido sample "two circles and a '
                'star"`, or run `kaleido init PATH` to make a workspace.',
            ) from error
    settings = override(Settings(), changes_of(context))
    choose_device(settings.compute.device)
    return Workspace(Path.cwd(), settings)


def _warn_of_unknown_words(captions: Sequence[str]) -> None:
    from pipelines.scenes.captions import unknown_words

    words = dict.fromkeys(word for caption in captions for word in unknown_words(caption))
    if words:
        console.say(
            f"The embedded models do not know the words {', '.join(list(words)[:NAMED])}"
            f"{' and others' if len(words) > NAMED else ''}: they were trained on simple shapes. "
            "Train models on your own pictures to draw other things."
        )


def captions_of(caption: str | None, path: str | None, limit: int) -> list[str] | None:
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

"""Captions of the command line, of a file or of a pipe, and the workspace that draws them."""

from __future__ import annotations

import contextlib
import io
import os
import select
import stat
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, cast

import typer

from kaleido_cli import console
from kaleido_cli.flags import changes_of
from kaleido_cli.options import STANDARD_INPUT, open_workspace
from pipelines.core.compute import choose_device
from pipelines.core.errors import InputMissing
from pipelines.models.metadata import read_metadata
from pipelines.models.registry import uses_own_models
from pipelines.workspace.config import override
from pipelines.workspace.settings import Settings

if TYPE_CHECKING:
    from pipelines.workspace.workspace import Workspace

NAMED = 8
"""Unknown words that a warning names."""

WAIT_SECONDS = 1.0
"""How long a pipe may stay silent before we take it that nobody writes to it."""


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


def captions_of(caption: str | None, path: str | None, limit: int) -> list[str] | None:
    """Return the captions that the user gives, or None where there are none."""
    from pipelines.core.inputs import require_file
    from pipelines.data.caption_files import clean_caption, read_captions

    if caption is not None and path is not None:
        raise typer.BadParameter("give a CAPTION or --captions, not both.")
    if caption is not None:
        return [clean_caption(caption, "caption", limit)]
    if path == "-" or (path is None and is_piped()):
        return read_captions(sys.stdin.buffer, "standard input", limit)
    if path is None:
        return None
    require_file(Path(path), STANDARD_INPUT)
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


def require_models(workspace: Workspace, baseline: bool = False) -> None:
    """Notice a model that is not trained yet before anything heavy is imported.

    Raises:
        InputMissing: If the workspace has models of its own, but not all that sampling needs.
    """
    if uses_own_models(workspace):
        name, flag = ("baseline", " --baseline") if baseline else ("diffusion", "")
        read_metadata(workspace.models("prior"), "prior", "Run `kaleido train prior` first.")
        hint = f"Run `kaleido train diffusion{flag}` first."
        read_metadata(workspace.models(name), f"{name} model", hint)


def warn_of_unknown_words(workspace: Workspace, captions: Sequence[str]) -> None:
    """Name the words of the captions that the embedded models, if they draw, do not know."""
    if uses_own_models(workspace):
        return
    from pipelines.scenes.captions import unknown_words

    words = dict.fromkeys(word for caption in captions for word in unknown_words(caption))
    if words:
        console.say(
            f"The embedded models do not know the words {', '.join(list(words)[:NAMED])}"
            f"{' and others' if len(words) > NAMED else ''}: they were trained on simple shapes. "
            "Train models on your own pictures to draw other things."
        )

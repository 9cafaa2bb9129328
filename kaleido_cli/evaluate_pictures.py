"""`kaleido evaluate --pictures` and `--base`: pictures of any model, compared by caption."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import typer

from kaleido_cli import console
from kaleido_cli.captions import captions_of, open_for_captions, warn_of_unknown_words
from kaleido_cli.flags import changes_of
from kaleido_cli.numbers import ends, number
from kaleido_cli.options import require_place, split_names
from pipelines.core.unfinished import LIST

OF_PICTURES = ("evaluate.features", "evaluate.n")
OF_BASES = (*OF_PICTURES, "evaluate.cfg", "evaluate.steps")
"""Settings under evaluate that are read."""


def compare_pictures(
    context: typer.Context,
    path: Path | None,
    pictures: Sequence[str],
    name: str,
    detect: bool,
    as_json: bool,
) -> None:
    """Compare folders of pictures."""
    changes = changes_of(context)
    _require_read(changes, OF_PICTURES, "--pictures", "nothing is drawn")
    opened = open_for_captions(context, path, has_captions=True)
    from pipelines.evaluate.folders.run import compare_folders

    progress = console.ConsoleProgress()
    most = changes.get("evaluate.n")
    summary = compare_folders(opened, pictures, name, most, progress, detect)
    console.show(summary, as_json, _render)


@dataclass(frozen=True)
class Asked:
    """What the command line asks for.

    Attributes:
        base: The base.
        caption: The caption.
        captions: A file of captions.
        planner: What draws z; None for a prior of ours.
        z: Kinds of z to draw; None for the usual ones.
        name: Of report and folders.
        detect: Look with the detector.
    """

    base: str
    caption: str | None
    captions: str | None
    planner: str | None
    z: str | None
    name: str
    detect: bool


def compare_with_base(
    context: typer.Context, path: Path | None, wanted: Asked, as_json: bool
) -> None:
    """Draw captions with a base, plainly and of plans, and compare the pictures."""
    changes = changes_of(context)
    _require_read(changes, OF_BASES, "--base", "a base draws given captions, at one scale")
    opened = open_for_captions(context, path, has_captions=True)
    asked = captions_of(wanted.caption, wanted.captions, opened.settings.data.max_caption)
    if not asked:
        raise typer.BadParameter("--base needs a CAPTION or --prompts.")
    scales = changes.get("evaluate.cfg", ())
    if len(scales) > 1:
        raise typer.BadParameter("--base takes one --cfg.")
    if wanted.planner is None:
        warn_of_unknown_words(opened, asked)
    from pipelines.evaluate.folders.with_base import drawn_folders, evaluate_base

    for folder in drawn_folders(wanted.name):
        if not (opened.samples(folder) / LIST).is_file():  # pictures of an earlier run are used
            require_place(opened, folder)
    drawn = {key: value for key, value in changes.items() if key.startswith("sample.")}
    drawn |= {"sample.cfg": scales[0]} if scales else {}
    if "evaluate.steps" in changes:
        drawn["sample.steps"] = changes["evaluate.steps"]
    summary = evaluate_base(
        opened,
        wanted.base,
        asked,
        drawn,
        wanted.name,
        wanted.planner,
        split_names(wanted.z),
        console.ConsoleProgress(),
        wanted.detect,
    )
    console.show(summary, as_json, _render)


def _require_read(
    changes: Mapping[str, Any], read: Collection[str], flag: str, because: str
) -> None:
    """Refuse settings that would have no effect."""
    sections = ("evaluate.", "drawing.") + ("base.", "server.") * (flag == "--pictures")
    if unread := [key for key in changes if key.startswith(sections) and key not in read]:
        name = f"--{unread[0].partition('.')[2].replace('_', '-')}"
        raise typer.BadParameter(f"{flag} excludes {name}: {because}.")


def _render(summary: Any) -> None:
    rows = [
        (
            row["metric"],
            row["folder"],
            number(row["value"]),
            ends(row),
            _difference(row["difference"]),
        )
        for row in summary.rows
    ]
    console.table(rows, ("metric", "folder", "value", "95 % interval", "difference"))
    for text in (*summary.warnings, *summary.answers):
        console.line(text)
    console.line(f"Report: {summary.report}")


def _difference(change: Mapping[str, Any] | None) -> str:
    return "–" if change is None else f"{number(change['value'])} ({ends(change)})"

"""Pictures of captions in a folder of samples: PNG files, their list, and a contact sheet."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pipelines.core.contact_sheet import contact_sheet
from pipelines.core.files import atomic_write
from pipelines.core.images import decode_image, encode_png
from pipelines.core.progress import Progress
from pipelines.core.unfinished import LIST

SHEET = "sheet.png"
"""The contact sheet's file."""

SHEET_CAPTIONS = 24
"""Captions that the contact sheet shows, at most."""

SHEET_PICTURES = 64
"""Pictures of each caption that the contact sheet shows, at most."""

Row = Mapping[str, Any]
"""A line of a list of samples, without the name of the picture's file."""


@dataclass(frozen=True)
class PictureGroup:
    """Pictures of one caption.

    Attributes:
        caption: The caption.
        count: How many pictures.
        pictures: Each as a PNG, with its row; read once, after those of the group before, so they
            may be drawn while they are written.
    """

    caption: str
    count: int
    pictures: Iterable[tuple[bytes, Row]]


def write_pictures(folder: Path, groups: Sequence[PictureGroup], progress: Progress) -> Path:
    """Write pictures into a folder, list them, and lay them out on a contact sheet.

    A run that is stopped has listed all that it wrote.

    Args:
        folder: A new one.
        groups: At least one, in the order of the sheet.
        progress: Told of the work, and if the sheet does not show all.

    Returns:
        The contact sheet's path.
    """
    shown: list[tuple[str, list[np.ndarray]]] = []
    with (
        (folder / LIST).open("w", encoding="utf-8", newline="\n") as lines,
        progress.task("samples", sum(group.count for group in groups), "image") as advance,
    ):
        for number, group in enumerate(groups):
            first: list[np.ndarray] = []
            for place, (png, row) in enumerate(group.pictures):
                file = f"{number:04d}-{place:04d}.png"
                atomic_write(folder / file, png)
                lines.write(line_of(file, row))
                lines.flush()
                if number < SHEET_CAPTIONS and place < SHEET_PICTURES:
                    first.append(decode_image(png, file))
                advance(1)
            if first:
                shown.append((group.caption, first))
    atomic_write(folder / SHEET, encode_png(contact_sheet(shown)))
    if len(groups) > SHEET_CAPTIONS or max(group.count for group in groups) > SHEET_PICTURES:
        progress.message(
            f"The contact sheet shows the first {SHEET_CAPTIONS} captions and the first "
            f"{SHEET_PICTURES} samples of each, at most."
        )
    return folder / SHEET


def line_of(file: str, row: Row) -> str:
    """Return the line of ``samples.jsonl`` for a picture."""
    return json.dumps({"file": file, **row}, ensure_ascii=False) + "\n"

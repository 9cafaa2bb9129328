"""The pictures of a base in a folder of samples, and the list of them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np

from pipelines.bases.adapter import z_text_of
from pipelines.bases.base import Base
from pipelines.bases.draw import Picture, draw
from pipelines.bases.prompt import Prompt
from pipelines.core.files import atomic_write
from pipelines.core.images import decode_image, encode_png
from pipelines.core.progress import Progress
from pipelines.core.unfinished import LIST
from pipelines.documents.document import Image
from pipelines.plan.drawn import Drawn, Row
from pipelines.plan.prompts import BaseRequest
from pipelines.sample.run import SHEET_CAPTIONS, SHEET_SAMPLES
from pipelines.sample.seeds import seeds_of
from pipelines.workspace.workspace import Workspace


@dataclass(frozen=True)
class Asked:
    """A picture that is asked for.

    Attributes:
        request: What is to be drawn.
        prompt: What the base reads.
        row: Its line in the list, without the file's name.
    """

    request: BaseRequest
    prompt: Prompt
    row: Row


def row_of(
    request: BaseRequest, prompt: Prompt, picture: Picture, facts: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the line of a picture, without the file's name: all that decides the picture.

    Args:
        request: What is to be drawn.
        prompt: What the base reads.
        picture: Its size.
        facts: What the lines of all pictures have in common.
    """
    row: dict[str, Any] = {
        "caption": request.caption,
        "prompt": prompt.text,
        "index": request.index,
        **facts,
    }
    if prompt.unsaid:
        row["unsaid"] = list(prompt.unsaid)
    if request.document is not None:
        size = Image(width=picture.width, height=picture.height)
        placed = request.document.model_copy(update={"image": size})
        row["document"] = json.loads(placed.to_json())
    return row


def write_pictures(
    folder: Path,
    workspace: Workspace,
    base: Base,
    asked: Sequence[Asked],
    picture: Picture,
    drawn: Drawn,
    progress: Progress,
) -> list[tuple[str, list[np.ndarray]]]:
    """Draw pictures into a folder and list them.

    Args:
        folder: A new one.
        workspace: Its ``sample`` settings are the seed of noise.
        base: The base.
        asked: The pictures; neighbours with one caption are drawn together.
        picture: Their size and manner.
        drawn: Those of earlier runs, which are not drawn again.
        progress: Receives progress.

    Returns:
        Captions and pictures that the contact sheet shows.
    """
    shown: list[tuple[str, list[np.ndarray]]] = []
    with (
        (folder / LIST).open("w", encoding="utf-8", newline="\n") as lines,
        progress.task("samples", len(asked), "image") as advance,
    ):
        groups = groupby(asked, lambda each: each.request.caption)
        for number, (caption, members) in enumerate(groups):
            group = list(members)
            pictures: list[np.ndarray] = []
            for place, png in enumerate(_pngs(workspace, base, group, picture, drawn)):
                file = f"{number:04d}-{place:04d}.png"
                atomic_write(folder / file, png)
                row = {"file": file, **group[place].row}
                lines.write(json.dumps(row, ensure_ascii=False) + "\n")
                lines.flush()  # a large picture takes a while, and a stopped run lists it
                if number < SHEET_CAPTIONS and len(pictures) < SHEET_SAMPLES:
                    pictures.append(decode_image(png, file))
                advance(1)
            if number < SHEET_CAPTIONS:
                shown.append((caption, pictures))
    return shown


def _pngs(
    workspace: Workspace, base: Base, group: Sequence[Asked], picture: Picture, drawn: Drawn
) -> Iterator[bytes]:
    """Yield the files of the pictures of a caption, those that are there already as they are."""
    there = [drawn.png(each.row) for each in group]
    missing = [each for each, png in zip(group, there, strict=True) if png is None]
    seeds = seeds_of(
        workspace.settings.sample,
        "noise",
        group[0].request.caption,
        [each.request.index for each in missing],
    )
    texts = [each.prompt.text for each in missing]
    new = draw(base, texts, seeds, picture, _z_of(base, [each.request for each in missing]))
    for png in there:
        yield png if png is not None else encode_png(next(new))


def _z_of(base: Base, requests: Sequence[BaseRequest]) -> list[str] | None:
    """Write what an adapter reads; None if there is no adapter, or captions alone are drawn."""
    documents = [request.document for request in requests if request.document is not None]
    if base.adapter is None or not documents:
        return None
    return [z_text_of(document, base.adapter.config.z_kinds) for document in documents]

"""The pictures of a base, drawn by captions, and what is listed of each."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from pipelines.bases.adapter import z_text_of
from pipelines.bases.base import Base
from pipelines.bases.draw import Picture, draw
from pipelines.bases.prompt import Prompt
from pipelines.core.images import encode_png
from pipelines.documents.document import Image
from pipelines.plan.drawn import Drawn
from pipelines.plan.prompts import BaseRequest
from pipelines.sample.seeds import seeds_of
from pipelines.sample.writer import PictureGroup, Row
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


def pictures_of(
    workspace: Workspace,
    base: Base,
    asked: Sequence[Asked],
    picture: Picture,
    drawn: Drawn,
) -> list[PictureGroup]:
    """Group pictures by their captions; they are drawn when they are read.

    Args:
        workspace: Its ``sample`` settings are the seed of noise.
        base: The base.
        asked: The pictures; neighbours with one caption are drawn together.
        picture: Their size and manner.
        drawn: Those of earlier runs, which are not drawn again.
    """
    groups = [(c, list(items)) for c, items in groupby(asked, lambda each: each.request.caption)]
    return [
        PictureGroup(
            caption,
            len(group),
            zip(
                _pngs(workspace, base, group, picture, drawn),
                [each.row for each in group],
                strict=True,
            ),
        )
        for caption, group in groups
    ]


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

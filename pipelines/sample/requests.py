"""Given z: read from documents and from the lists of earlier samples."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import PurePath

from pipelines.core.errors import KaleidoError
from pipelines.documents.document import Document
from pipelines.documents.problems import Loss, require_valid
from pipelines.documents.projection import z_of
from pipelines.documents.reading import check_document
from pipelines.documents.strict_json import parse
from pipelines.latents.sequence import z_to_text


@dataclass(frozen=True)
class ZRequest:
    """One picture to draw.

    Attributes:
        caption: The caption that the models read.
        z: The latent as text.
        index: The number of the sample whose noise is used.
    """

    caption: str
    z: str
    index: int


@dataclass
class Requests:
    """What a file asks for.

    Attributes:
        items: One per picture, in the file's order.
        lost: What the kinds of z cannot hold, by the number of the picture.
    """

    items: list[ZRequest] = field(default_factory=list)
    lost: list[tuple[int, Loss]] = field(default_factory=list)


def read_requests(
    data: bytes,
    name: str,
    kinds: Sequence[str],
    caption: str | None = None,
    needs_caption: bool = True,
) -> Requests:
    """Read z documents, or lines of a ``samples.jsonl``.

    A line of ``samples.jsonl`` is drawn with the noise of its own sample; documents are numbered as
    they stand in the file.

    Args:
        data: One document, or one document or sample a line.
        name: The file's name, for errors.
        kinds: Kinds of z that the model knows.
        caption: The caption, where a document does not name one.
        needs_caption: Refuse a document without one; else its caption is empty.

    Raises:
        InvalidDocument: If a document breaks a rule.
        KaleidoError: If a line is neither, a caption is missing, or a document holds none of the
            kinds.
    """
    found = Requests()
    is_one = parse(data)[0] is not None  # its errors are not those of its first line
    lines = [data] if is_one else [line for line in data.splitlines() if line.strip()]
    for number, line in enumerate(lines):
        where = name if is_one else f"{name}, line {number + 1}"
        row = _sample_row(line, where)
        if row is not None:
            found.items.append(ZRequest(caption or row[0], row[1], row[2]))
            continue
        document, problems = check_document(line)
        require_valid(where, problems)
        assert document is not None  # there is none only where there are errors
        asked = caption or document.caption or ""
        if needs_caption:
            _require_caption(asked, where)
        found.items.append(_request(document, where, number, kinds, asked, found.lost))
    if not found.items:
        raise KaleidoError(name, "it is empty.", "Give a z document or a samples.jsonl.")
    return found


def _sample_row(line: bytes, where: str) -> tuple[str, str, int] | None:
    """Return caption, z and index of a line of ``samples.jsonl``; None for any other line."""
    row, problems = parse(line)
    match row:
        case {"z": str(z), "caption": str(caption), "index": int(index), "file": str()} if z:
            require_valid(where, problems)
            if not caption.strip():
                raise KaleidoError(where, "its caption is empty.", "Write one.", code="bad-data")
            return caption, z, index
    return None


def _require_caption(caption: str, where: str) -> None:
    if not caption:
        raise KaleidoError(
            where,
            "the document names no caption, which the models read beside z.",
            "Give a CAPTION on the command line, or add a caption to the document.",
            code="bad-data",
        )


def _request(
    document: Document,
    where: str,
    number: int,
    kinds: Sequence[str],
    caption: str,
    lost: list[tuple[int, Loss]],
) -> ZRequest:
    z, losses = z_of(document, kinds)
    if not z:
        raise KaleidoError(
            where,
            f"the document holds none of the kinds that the model knows: {', '.join(kinds)}.",
            "Add elements with boxes, a description or a palette.",
            code="bad-data",
        )
    lost += [(number, loss) for loss in losses]
    return ZRequest(caption, z_to_text(z), number)


def name_of(path: str) -> str:
    """Return a folder name for the samples of a file of requests."""
    return PurePath(path).name.split(".", 1)[0] or "samples"

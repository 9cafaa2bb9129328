"""What the nodes do, as functions of texts and arrays; each imports what it needs when called."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipelines.core.errors import KaleidoError

if TYPE_CHECKING:
    import numpy as np

    from pipelines.documents.document import Document
    from pipelines.plan.planners.base import Planner

WORDS = "words"
"""The prompt of a model that reads prose."""

PROMPTS = (WORDS, "ideogram4", "fibo")
"""How a document can be written as a prompt."""

_EDITS: dict[str, tuple[Callable[[str], Any], ...]] = {
    "move": (str, int, int),
    "resize": (str, float),
    "rotate": (str, float),
    "recolour": (str, str),
    "remove": (str,),
    "add": (str,),
    "describe": (str,),
}
"""Change -> the types of what follows it."""


def plan(caption: str, count: int, seed: int, planner: str = "") -> list[str]:
    """Draw documents of a caption.

    Args:
        caption: The caption.
        count: How many, each with a z of its own.
        seed: Of the draws.
        planner: As for `kaleido plan --planner`; empty for the embedded prior, which knows simple
            shapes.

    Returns:
        z documents, as JSON.
    """
    if not caption.strip():
        raise KaleidoError("caption", "it is empty.", "Write what the picture should show.")
    return [each.to_json() for each in _planner(planner).plan(caption, count, seed)]


@cache
def _planner(name: str) -> Planner:
    from pipelines.plan.planners.find import find_planner
    from pipelines.workspace.settings import Settings
    from pipelines.workspace.workspace import Workspace

    if name:
        return find_planner(Workspace(Path.cwd(), Settings()), name).planner
    from pipelines.plan.planners.prior import PriorPlanner
    from pipelines.plan.run import open_prior

    prior, kinds, _ = open_prior(None)
    return PriorPlanner(prior, kinds, Settings().sample)


def prompt_of(document: str, form: str = WORDS) -> str:
    """Write a document as a prompt.

    Args:
        document: A z document, as JSON.
        form: One of `PROMPTS`.
    """
    from pipelines.bases.prompt import json_prompt
    from pipelines.documents.reading import read_document
    from pipelines.documents.words import sentences

    read = read_document(document)
    return ". ".join(sentences(read)) if form == WORDS else json_prompt(read, form)[0]


def edit(document: str, changes: str) -> str:
    """Change a document.

    Args:
        document: A z document, as JSON.
        changes: One a line, as `kaleido edit` takes them: ``move star 200 -100``, ``resize star
            1.5``, ``rotate star 30``, ``remove circle``, ``recolour star '#2050d0'``, ``add 'circle
            (100, 100, 400, 400)'``, ``describe 'a new description'``.

    Returns:
        The changed document.

    Raises:
        KaleidoError: If a line is no change, or the document has nothing of that name.
    """
    from pipelines.documents.reading import read_document

    changed = read_document(document)
    for line in filter(None, map(str.strip, changes.splitlines())):
        changed = _change(changed, line)
    return changed.to_json()


def _change(document: Document, line: str) -> Document:
    from pipelines.documents import edit as edits

    try:
        word, *rest = shlex.split(line)
        arguments = [kind(part) for kind, part in zip(_EDITS[word], rest, strict=True)]
    except (ValueError, KeyError) as error:
        known = "; ".join(f"{name} {' '.join(t.__name__ for t in _EDITS[name])}" for name in _EDITS)
        raise KaleidoError(line, "it is no change.", f"Known: {known}.", "bad-option") from error
    changed: Document = getattr(edits, word)(document, *arguments)
    return changed


def to_dialect(
    documents: Sequence[str], dialect: str, width: int, height: int
) -> tuple[list[str], list[str]]:
    """Write documents in the format of another tool.

    Args:
        documents: z documents, as JSON.
        dialect: A name of `kaleido z formats`.
        width: Width of the picture in pixels, where a document does not say it.
        height: Its height.

    Returns:
        The texts of the format's files, one a document or one of all, as it has it; and what the
        format cannot say.
    """
    from pipelines.documents.dialects.registry import writable
    from pipelines.documents.document import Image
    from pipelines.documents.reading import read_document

    read = []
    for number, text in enumerate(documents):
        document = read_document(text)
        image = document.image or Image(width=width, height=height)
        read.append(document.model_copy(update={"key": f"{number:04d}", "image": image}))
    written = writable(dialect).write(read)
    lost = [f"{key}: {each.path}: {each.why}" for key in written.lost for each in written.lost[key]]
    return list(written.files.values()), lost


def from_dialect(text: str, dialect: str, width: int, height: int) -> list[str]:
    """Read documents in the format of another tool.

    Args:
        text: The text of a file.
        dialect: A name of `kaleido z formats`.
        width: Width of the picture in pixels, for formats that count pixels and do not say it.
        height: Its height.

    Raises:
        InvalidDocument: With every problem of the text.
    """
    from pipelines.documents.dialects.base import Context
    from pipelines.documents.dialects.registry import dialect as format_of
    from pipelines.documents.problems import require_valid

    reading = format_of(dialect).read(text.encode(), Context("text", width, height))
    require_valid("text", reading.problems)
    return [each.to_json() for each in reading.documents]


def dialects() -> list[str]:
    """Name the formats that can be read and written as one text."""
    from pipelines.documents.dialects.base import WritableDialect
    from pipelines.documents.dialects.registry import DIALECTS

    return [name for name, form in DIALECTS.items() if isinstance(form, WritableDialect)]


def diversity(images: np.ndarray) -> dict[str, float]:
    """Measure how much pictures differ, without a network.

    Args:
        images: (n, height, width, 3), in [0, 1], n >= 2.

    Returns:
        The effective number of pictures (Vendi score, 1 to n) by colours, ``histogram``, and by
        coarse form, ``pixels``.

    Raises:
        KaleidoError: If there are fewer than two.
    """
    import numpy as np

    from pipelines.evaluate.metrics.diversity import vendi
    from pipelines.evaluate.metrics.plain_features import plain_features, split

    if len(images) < 2:
        why = "diversity needs at least two pictures."
        raise KaleidoError("images", why, "Connect a batch of pictures of one caption.")
    pixels = (np.clip(images, 0.0, 1.0) * 255.0).round().astype(np.uint8)
    return {space: vendi(rows) for space, rows in split(plain_features(pixels)).items()}

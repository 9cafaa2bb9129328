"""Prompts that a base reads: of captions, and of z documents."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from textwrap import shorten
from typing import Any

from pipelines.bases.base import Base
from pipelines.bases.prompt import Prompt, open_reader, read_by, write_prompt
from pipelines.core.errors import KaleidoError
from pipelines.core.files import atomic_write
from pipelines.core.progress import SILENT, Progress
from pipelines.documents.dialects.base import Context
from pipelines.documents.dialects.kaleido import KaleidoZ
from pipelines.documents.document import Document
from pipelines.documents.problems import require_valid
from pipelines.documents.strict_json import parse

PROMPTS = "prompts.jsonl"

SHOWN = 80
"""Characters shown of a sentence that did not fit."""


@dataclass(frozen=True)
class BaseRequest:
    """One picture to draw.

    Attributes:
        caption: The caption.
        index: Number of the sample, on which its noise depends.
        document: z; None draws the caption as it is.
    """

    caption: str
    index: int
    document: Document | None = None


def read_base_requests(data: bytes, name: str, caption: str | None = None) -> list[BaseRequest]:
    """Read z documents, or the lines of a ``samples.jsonl``, which keep the noise of their number.

    Args:
        data: One document, or one document or sample a line.
        name: The file's name, for errors.
        caption: The caption, where a document does not name one.

    Raises:
        InvalidDocument: If a document breaks a rule.
        KaleidoError: If there is no document, or a caption is missing.
    """
    reading = KaleidoZ().read(data, Context(name))
    require_valid(name, reading.problems)
    numbers = _numbers(data)
    if len(numbers) != len(reading.documents):
        numbers = list(range(len(reading.documents)))
    found = []
    for index, document in zip(numbers, reading.documents, strict=True):
        asked = caption or document.caption
        if not asked:
            raise KaleidoError(
                f"{name}, {document.key}",
                "the document names no caption.",
                "Give a CAPTION on the command line, or add a caption to the document.",
                code="bad-data",
            )
        found.append(BaseRequest(asked, index, document.model_copy(update={"caption": asked})))
    if not found:
        raise KaleidoError(name, "it holds no z.", "Give z documents, or a samples.jsonl.")
    return found


def _numbers(data: bytes) -> list[int]:
    """Return the numbers of the samples in a ``samples.jsonl``; for other lines their place."""
    rows = [parse(line)[0] for line in data.splitlines() if line.strip()]
    return [
        row["index"] if isinstance(row, dict) and type(row.get("index")) is int else place
        for place, row in enumerate(rows)
    ]


def prompt_of(base: Base, request: BaseRequest) -> Prompt:
    """Write what a base reads for a picture; with an adapter, z is no part of its prompt."""
    if base.adapter is not None:
        return read_by(base, request.caption)
    document = request.document or Document(caption=request.caption)
    if base.family.dialect == "words" and request.document is None:
        return read_by(base, request.caption)
    return write_prompt(base, document)


def tell_unsaid(base: Base, prompts: Sequence[Prompt], progress: Progress) -> None:
    """Say how many prompts do not reach a base whole, and what is lost."""
    limit = base.family.text_limit
    short = [prompt for prompt in prompts if prompt.unsaid]
    if short and base.family.dialect == "words":
        what = shorten(short[0].unsaid[0], SHOWN, placeholder=" …")
        progress.message(
            f"{base.family.title} reads {limit} tokens: {len(short):,} of {len(prompts):,} prompts "
            f"leave out a part of z, such as {what!r}."
        )
    if cut := sum(prompt.is_cut for prompt in prompts):
        progress.message(
            f"{base.family.title} reads {limit} tokens: the ends of {cut:,} prompts are not read."
        )
    if long := sum(prompt.is_long for prompt in prompts):
        progress.message(
            f"{long:,} of {len(prompts):,} prompts are longer than 77 tokens. "
            f"{base.family.long_prompts}"
        )


@dataclass(frozen=True)
class PromptSummary:
    """Prompts that were written.

    Attributes:
        file: A line for each prompt.
        base: Name of the base's family, for people.
        count: Number of prompts.
        whole: How many of them tell all of z, and are read to their end.
    """

    file: Path
    base: str
    count: int
    whole: int


def write_prompts(documents: Path, base_name: str, progress: Progress = SILENT) -> PromptSummary:
    """Write the prompts of planned documents beside them, as `sample --base` would send them.

    Only configurations and tokenizers of the base are read.

    Args:
        documents: A file of z documents, one a line.
        base_name: A folder, or a name on the hub.
        progress: Told what does not reach the base.

    Returns:
        What was written, into ``prompts.jsonl``.

    Raises:
        KaleidoError: If the base cannot be found.
    """
    base = open_reader(base_name)
    requests = read_base_requests(documents.read_bytes(), documents.name)
    prompts = [prompt_of(base, request) for request in requests]
    tell_unsaid(base, prompts, progress)
    lines = [
        json.dumps(_row(base, *pair), ensure_ascii=False) + "\n"
        for pair in zip(requests, prompts, strict=True)
    ]
    path = documents.parent / PROMPTS
    atomic_write(path, "".join(lines).encode())
    whole = sum(not prompt.unsaid and not prompt.is_cut for prompt in prompts)
    return PromptSummary(path, base.family.title, len(prompts), whole)


def _row(base: Base, request: BaseRequest, prompt: Prompt) -> dict[str, Any]:
    return {
        "key": request.document.key if request.document else None,
        "caption": request.caption,
        "base": base.folder.name,
        "prompt": prompt.text,
        "tokens": base.family.length(base.pipe, prompt.text),
        "limit": base.family.text_limit,
        "is_cut": prompt.is_cut,
        "unsaid": prompt.unsaid,
    }

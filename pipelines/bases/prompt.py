"""z as the prompt of a base: in words, or in the JSON that the base was trained on."""

from __future__ import annotations

from dataclasses import dataclass

from pipelines.bases.base import Base
from pipelines.documents.dialects.registry import writable
from pipelines.documents.document import Document
from pipelines.documents.words import sentences


@dataclass(frozen=True)
class Prompt:
    """What a base reads.

    Attributes:
        text: The prompt.
        unsaid: What of z it does not say: sentences that did not fit, or losses of the format.
        is_cut: Whether the base does not read the end of the text.
    """

    text: str
    unsaid: tuple[str, ...] = ()
    is_cut: bool = False


def write_prompt(base: Base, document: Document) -> Prompt:
    """Write a document as a prompt that the base reads to its end.

    In words, the caption stands first, and sentences that do not fit are left out whole; a caption
    that is too long by itself stays, and its end is not read.

    Args:
        base: The base, whose tokenizer counts.
        document: z, with the caption.
    """
    if base.family.dialect != "words":
        return _in_json(base, document)
    parts = sentences(document)
    text, unsaid = "", []
    for part in parts:
        longer = f"{text}. {part}" if text else part
        if text and _excess(base, longer):
            unsaid.append(part)
        else:
            text = longer
    return Prompt(text, tuple(unsaid), _excess(base, text))


def _in_json(base: Base, document: Document) -> Prompt:
    text, unsaid = json_prompt(document, base.family.dialect)
    return Prompt(text, unsaid, _excess(base, text))


def json_prompt(document: Document, dialect: str) -> tuple[str, tuple[str, ...]]:
    """Write a document in a JSON dialect, the caption in its description: a base reads no other.

    Args:
        document: z, with the caption.
        dialect: ``ideogram4`` or ``fibo``.

    Returns:
        The JSON, and what the dialect cannot say.
    """
    said = (document.caption, document.description)
    described = ". ".join(dict.fromkeys(text.rstrip(". ") for text in said if text))
    keyed = document.model_copy(update={"key": "z", "description": described or None})
    written = writable(dialect).write([keyed])
    (text,) = written.files.values()
    return text, tuple(f"{loss.path}: {loss.why}" for loss in written.lost["z"])


def _excess(base: Base, text: str) -> bool:
    return base.family.length(base.pipe, text) > base.family.text_limit

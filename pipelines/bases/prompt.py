"""z as the prompt of a base: in words, or in the JSON that the base was trained on."""

from __future__ import annotations

from dataclasses import dataclass

from pipelines.bases.base import Base
from pipelines.bases.folder import open_folder
from pipelines.bases.memory import meta_pipeline
from pipelines.documents.dialects.registry import writable
from pipelines.documents.document import Document
from pipelines.documents.shorten import shortened
from pipelines.documents.words import sentences, with_words


@dataclass(frozen=True)
class Prompt:
    """What a base reads.

    Attributes:
        text: The prompt.
        unsaid: What of z it does not say: sentences that did not fit, or losses of the format.
        is_cut: Whether the base does not read the end of the text.
        is_long: Whether a part of the base reads it in another way, see `Family.long_prompts`.
    """

    text: str
    unsaid: tuple[str, ...] = ()
    is_cut: bool = False
    is_long: bool = False


def open_reader(name: str) -> Base:
    """Open a base whose networks have no weights, but whose tokenizers count prompts.

    Args:
        name: A folder, or a name on the hub; no weights are fetched.

    Raises:
        KaleidoError: If there is no such base, or its configurations or tokenizers are damaged.
    """
    folder = open_folder(name, with_weights=False)
    return Base(folder, meta_pipeline(folder, with_tokenizers=True))


def write_prompt(base: Base, document: Document) -> Prompt:
    """Write a document as a prompt that the base reads to its end.

    In words, the caption stands first, and sentences that do not fit are left out whole; a caption
    that is too long by itself stays, and its end is not read. JSON is never cut: the parts of a
    document that is too long are left out in the order of `shortened`, until it fits.

    Args:
        base: The base, whose tokenizer counts.
        document: z, with the caption.
    """
    if base.family.dialect != "words":
        return _json_that_fits(base, document)
    parts = sentences(document)
    text, unsaid = "", []
    for part in parts:
        longer = f"{text}. {part}" if text else part
        if text and _excess(base, longer):
            unsaid.append(part)
        else:
            text = longer
    return read_by(base, text, tuple(unsaid))


def _json_that_fits(base: Base, document: Document) -> Prompt:
    text, unsaid = json_prompt(document, base.family.dialect)
    if not _excess(base, text):
        return read_by(base, text, unsaid)
    left_out = []
    for path, shorter in shortened(document):
        left_out.append(f"{path}: It does not fit.")
        text, unsaid = json_prompt(shorter, base.family.dialect)
        if not _excess(base, text):
            break
    return read_by(base, text, (*unsaid, *left_out))


def read_by(base: Base, text: str, unsaid: tuple[str, ...] = ()) -> Prompt:
    """Tell how a base reads a text."""
    return Prompt(text, unsaid, _excess(base, text), base.family.is_long(base.pipe, text))


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
    if dialect == "fibo":
        document = with_words(document)
    keyed = document.model_copy(update={"key": "z", "description": described or None})
    written = writable(dialect).write([keyed])
    (text,) = written.files.values()
    return text, tuple(f"{loss.path}: {loss.why}" for loss in written.lost["z"])


def _excess(base: Base, text: str) -> bool:
    return base.family.length(base.pipe, text) > base.family.text_limit

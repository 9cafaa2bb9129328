"""Kaleido's own documents: one in a file, one a line with its key, or those of a samples.jsonl."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import PurePosixPath

from pipelines.documents.dialects.base import Context, Reading, Written
from pipelines.documents.document import Document
from pipelines.documents.part import MAX_TEXT
from pipelines.documents.problems import Problem, errors_of
from pipelines.documents.projection import document_of
from pipelines.documents.reading import check_document
from pipelines.documents.strict_json import dump, parse
from pipelines.latents.base import LatentError
from pipelines.latents.sequence import z_from_text


class KaleidoZ:
    """The z document itself."""

    name = "kaleido.z"
    suffix = ".z.jsonl"
    per_picture = False
    title = "Kaleido's z documents: JSON, JSON lines with a key, or the samples.jsonl of samples"

    def read(self, data: bytes, context: Context) -> Reading:
        """Read one document, or one document or sample a line."""
        document, problems = check_document(data)
        if document is not None:
            key = document.key or context.key
            return Reading([document.model_copy(update={"key": key})], problems)
        found, are_samples = self._lines(data, context)
        if found.documents or are_samples:
            return found
        # A document over several lines that breaks a rule has no line that is a document.
        return Reading([], problems)

    def write(self, documents: Sequence[Document]) -> Written:
        """Write one document per line, without losses."""
        text = "".join(f"{document.to_json()}\n" for document in documents)
        return Written({f"documents{self.suffix}": text}, {})

    def _lines(self, data: bytes, context: Context) -> tuple[Reading, bool]:
        """Read a document or sample a line; also tell whether any line is a sample."""
        documents: list[Document] = []
        problems: list[Problem] = []
        are_samples = False
        lines = [(n, line) for n, line in enumerate(data.splitlines(), start=1) if line.strip()]
        for number, line in lines:
            sample = _sample(line)
            are_samples |= sample is not None
            document, faults = sample or check_document(line)
            problems += _under(f"line {number}", faults)
            if document is not None:
                key = document.key or f"{context.key}-{number}"
                documents.append(document.model_copy(update={"key": key}))
        return Reading(documents, problems), are_samples


def _sample(line: bytes) -> tuple[Document | None, list[Problem]] | None:
    """Read a line of a ``samples.jsonl``; return None if the line is something else.

    Lists of earlier versions hold z as text alone.
    """
    row, problems = parse(line)
    match row:
        case {"format": _}:
            return None
        case {"file": str(file), "document": dict(form)}:
            document, faults = check_document(dump(form))
            problems += _under("document", faults)
        case {"file": str(file), "caption": str(caption), "z": str(z)}:
            document, faults = _of_text(z, caption)
            problems += faults
        case _:
            return None
    if document is None or errors_of(problems):
        return None, problems
    key = document.key or PurePosixPath(file).stem or None
    return document.model_copy(update={"key": key}), problems


def _of_text(z: str, caption: str) -> tuple[Document | None, list[Problem]]:
    if not z:
        why = "A baseline drew this sample, so it has no z."
        return None, [Problem("z", "baseline", why, "warning")]
    cut = f"Only {MAX_TEXT:,} characters are kept."
    faults = [Problem("caption", "length", cut, "warning")] * (len(caption) > MAX_TEXT)
    try:
        return document_of(z_from_text(z), caption[:MAX_TEXT]), faults
    except LatentError as error:
        return None, [Problem("z", "latent", f"{error.what}: {error.why}")]


def _under(where: str, problems: Sequence[Problem]) -> list[Problem]:
    """Put a prefix before the paths of problems."""
    return [
        Problem(f"{where}.{p.path}".rstrip("."), p.code, p.message, p.severity) for p in problems
    ]

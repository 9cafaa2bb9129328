"""Kaleido's own documents: one in a file, or one a line with its key."""

from __future__ import annotations

from collections.abc import Sequence

from pipelines.documents.dialects.base import Context, Reading, Written
from pipelines.documents.document import Document, check_document
from pipelines.documents.problems import Problem


class KaleidoZ:
    """The z document itself."""

    name = "kaleido.z"
    suffix = ".z.jsonl"
    title = "Kaleido's z documents: JSON, or JSON lines with a key"

    def read(self, data: bytes, context: Context) -> Reading:
        """Read one document, or one a line."""
        document, problems = check_document(data)
        if document is not None or b"\n" not in data.strip():
            keyed = document and document.model_copy(update={"key": document.key or context.key})
            return Reading([] if keyed is None else [keyed], problems)
        return self._lines(data, context, problems)

    def write(self, documents: Sequence[Document]) -> Written:
        """Write one document a line; nothing is lost."""
        text = "".join(f"{document.to_json()}\n" for document in documents)
        return Written({f"documents{self.suffix}": text}, {})

    def _lines(self, data: bytes, context: Context, whole: list[Problem]) -> Reading:
        documents: list[Document] = []
        problems: list[Problem] = []
        lines = [(n, line) for n, line in enumerate(data.splitlines(), start=1) if line.strip()]
        for number, line in lines:
            document, faults = check_document(line)
            problems += [
                Problem(f"line {number}.{f.path}".rstrip("."), f.code, f.message, f.severity)
                for f in faults
            ]
            if document is not None:
                key = document.key or f"{context.key}-{number}"
                documents.append(document.model_copy(update={"key": key}))
        # An indented document that breaks a rule has no line that is a document.
        return Reading(documents, problems if documents else whole or problems)

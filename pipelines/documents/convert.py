"""Read, check and convert files of documents and annotations, and list everything that is lost."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pipelines.core.errors import InputMissing, KaleidoError
from pipelines.core.files import atomic_write
from pipelines.core.inputs import read_file
from pipelines.documents.dialects.base import Context
from pipelines.documents.dialects.registry import dialect, writable
from pipelines.documents.document import Document, Lost, Origin
from pipelines.documents.problems import Loss, Problem, errors_of
from pipelines.documents.statements import document_contradictions

MAX_NAME = 255
"""Bytes of a file name that the usual file systems allow."""


@dataclass(frozen=True)
class FileReport:
    """The result of reading one file.

    Attributes:
        name: Path of the file as given.
        documents: Number of documents that could be read.
        problems: All errors and warnings.
    """

    name: str
    documents: int
    problems: list[Problem]

    @property
    def valid(self) -> bool:
        """Whether the file has no errors."""
        return not errors_of(self.problems)


@dataclass(frozen=True)
class Conversion:
    """The result of a conversion.

    Attributes:
        files: Paths of the written files.
        documents: Number of converted documents.
        lost: Kind of loss -> number of occurrences.
        reports: The report on each input.
    """

    files: list[str]
    documents: int
    lost: dict[str, int]
    reports: list[FileReport]


def read_files(
    paths: Sequence[Path], name: str, context: Context | None = None
) -> Iterator[tuple[list[Document], FileReport]]:
    """Read files of one format, one at a time.

    Args:
        paths: Files, or folders, of which all files with the format's suffix are read.
        name: Name of the format.
        context: Picture size and class names, for formats that do not contain them.

    Raises:
        InputMissing: If a path does not exist.
        KaleidoError: If there is no such format.
    """
    form = dialect(name)
    base = context or Context()
    for path in _files(paths, form.suffix):
        named = Context(str(path), base.width, base.height, base.names)
        found = form.read(read_file(path), named)
        yield found.documents, FileReport(str(path), len(found.documents), found.problems)


def verify_files(
    paths: Sequence[Path], name: str, context: Context | None = None
) -> Iterator[FileReport]:
    """Report on files; a description that contradicts the boxes of its document is a warning.

    The arguments and errors are those of `read_files`.
    """
    for documents, report in read_files(paths, name, context):
        found = [
            Problem(_of(document, documents), "contradiction", sentence, "warning")
            for document in documents
            for sentence in document_contradictions(document)
        ]
        yield replace(report, problems=[*report.problems, *found])


def convert(
    paths: Sequence[Path],
    source: str,
    target: str,
    out: Path,
    allowed: Sequence[str] = (),
    context: Context | None = None,
) -> Conversion:
    """Convert files from one format to another. Write nothing if there is any error.

    Args:
        paths: Files or folders.
        source: The format to read.
        target: The format to write.
        out: Output folder; existing files of the same names are an error.
        allowed: Kinds of losses to accept; ``all`` accepts every kind.
        context: Picture size and class names, for formats that do not contain them.

    Raises:
        KaleidoError: If a file is invalid, something would be lost that is not in `allowed`, or an
            output file exists.
    """
    writer = writable(target)
    documents: list[Document] = []
    reports: list[FileReport] = []
    for found, report in read_files(paths, source, context):
        documents += [_with_losses(document, report.problems) for document in found]
        reports.append(report)
    _require_valid(reports)
    _require_keys(documents)
    written = writer.write(documents)
    lost = require_allowed(target, written.lost, allowed)
    targets = [_inside(out, name) for name in written.files]
    if existing := [path for path in targets if path.exists()]:
        raise KaleidoError(
            str(existing[0]),
            f"it exists, and so do {len(existing) - 1} more." if existing[1:] else "it exists.",
            "Choose another folder with --out.",
            code="would-overwrite",
        )
    out.mkdir(parents=True, exist_ok=True)
    for path, text in zip(targets, written.files.values(), strict=True):
        atomic_write(path, text.encode())
    return Conversion([str(path) for path in targets], len(documents), lost, reports)


def _files(paths: Sequence[Path], suffix: str) -> Iterator[Path]:
    # Documents may stand one in a file as well as one a line.
    suffixes = (suffix, suffix.removesuffix("l")) if suffix.endswith(".jsonl") else (suffix,)
    for path in paths:
        if path.is_dir():
            found = sorted(p for p in path.rglob("*") if p.name.endswith(suffixes) and p.is_file())
            if not found:
                raise InputMissing(str(path), f"it contains no {' or '.join(suffixes)} files.")
            yield from found
        elif path.exists():
            yield path
        else:
            raise InputMissing(str(path), "there is no such file or folder.")


def _of(document: Document, documents: Sequence[Document]) -> str:
    return "description" if len(documents) == 1 else f"{document.key}: description"


def _inside(folder: Path, name: str) -> Path:
    """Return the path of a file to write, whose name comes from a document's key.

    A key may name a folder below, as in ``train/0001``, but nothing outside.
    """
    parts = name.split("/")
    leaves = any(part == "" or part.startswith(".") for part in parts)
    odd = any(char in ":\\" or unicodedata.category(char) == "Cc" for char in name)
    if leaves or odd or any(len(part.encode()) > MAX_NAME for part in parts):
        raise KaleidoError(
            ascii(name[:80]),
            "a document's key gives this file name, which does not fit into a folder.",
            "Give the document another key.",
            code="bad-data",
        )
    return folder / name


def _with_losses(document: Document, problems: Sequence[Problem]) -> Document:
    """Record in the document's origin what the importer left out."""
    lost = tuple(Lost(path=p.path, why=p.message) for p in problems if p.severity == "warning")
    if not lost or document.origin is None:
        return document
    origin = Origin(**document.origin.model_dump(exclude={"lost"}), lost=lost[:1000])
    return document.model_copy(update={"origin": origin})


def _require_valid(reports: Sequence[FileReport]) -> None:
    faulty = [report for report in reports if not report.valid]
    if faulty:
        first = errors_of(faulty[0].problems)[0]
        raise KaleidoError(
            faulty[0].name,
            f"{first}" + (f"; {len(faulty) - 1} more files have errors." * (len(faulty) > 1)),
            "Run `kaleido z verify` to list all problems.",
            code="bad-data",
        )


def _require_keys(documents: Sequence[Document]) -> None:
    counts = Counter(str(document.key) for document in documents)
    twice = [key for key, count in counts.items() if count > 1]
    if twice:
        raise KaleidoError(
            twice[0],
            f"{counts[twice[0]]} documents have this key and would be written to the same file.",
            "Convert them one folder at a time, or rename the files.",
            code="bad-data",
        )


def require_allowed(
    target: str, lost: Mapping[str, Sequence[Loss]], allowed: Sequence[str]
) -> dict[str, int]:
    """Count the losses of a conversion.

    Args:
        target: Name of the target format, for messages.
        lost: Losses by document key.
        allowed: Kinds of losses to accept; ``all`` accepts every kind.

    Returns:
        Kind of loss -> number of occurrences.

    Raises:
        KaleidoError: If something would be lost that is not in `allowed`.
    """
    counts = Counter(loss.field for losses in lost.values() for loss in losses)
    refused = [kind for kind in counts if kind not in allowed and "all" not in allowed]
    if not refused:
        return dict(counts)
    key, loss = next(
        (key, loss) for key, losses in lost.items() for loss in losses if loss.field == refused[0]
    )
    raise KaleidoError(
        f"{key}, {loss.path}",
        f"it would be lost in {target}: {loss.why}",
        f"Accept the losses with --allow-loss {','.join([*allowed, *refused])}.",
        code="would-overwrite",
    )

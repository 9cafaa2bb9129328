"""Attach annotations that exist already to the records of a workspace."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from pipelines.core.errors import InputMissing, KaleidoError
from pipelines.core.fingerprint import fingerprint
from pipelines.core.progress import SILENT, Progress
from pipelines.core.record import Record
from pipelines.documents.convert import FileReport, read_files
from pipelines.documents.dialects.base import Context
from pipelines.documents.document import Document, Image
from pipelines.documents.part import MAX_TEXT
from pipelines.documents.placement import Placement, place
from pipelines.workspace.journal import Journal
from pipelines.workspace.manifest import (
    Manifest,
    RowOutcome,
    count_outcomes,
    read_manifest,
    read_rows,
    write_manifest,
)
from pipelines.workspace.reader import latent_extension
from pipelines.workspace.shards import read_records, write_shard
from pipelines.workspace.workspace import LAYOUTS, Workspace

STAGE, VERSION = "annotate", 2

RATIO = 0.02
"""How far the shape of an annotated picture may differ from the record's before the annotation is
taken for one of another picture, or of the same one before its EXIF orientation was applied."""


@dataclass
class AnnotateSummary:
    """What became of the annotations.

    Attributes:
        documents: How many were read.
        annotated: Records that have one now.
        without: Records that have none.
        failed: Records whose annotation does not fit their picture.
        unused: Documents that belong to no record, by key, the first of them.
        unused_count: How many there are.
        reports: Files with problems.
        failures: Key and reason of the first failures.
    """

    documents: int = 0
    annotated: int = 0
    without: int = 0
    failed: int = 0
    unused: list[str] = field(default_factory=list)
    unused_count: int = 0
    reports: list[FileReport] = field(default_factory=list)
    failures: list[tuple[str, str]] = field(default_factory=list)


def annotate(
    workspace: Workspace,
    paths: Sequence[Path],
    dialect: str,
    context: Context | None = None,
    progress: Progress = SILENT,
) -> AnnotateSummary:
    """Read annotations and write them beside the data, as ``layouts/``.

    A document belongs to the records whose key is its key, or whose picture's file has its name.
    Geometry moves with what ``data.fit`` did to the picture. Earlier layouts are replaced.

    Args:
        workspace: Holds the data.
        paths: Files of annotations, or folders of them.
        dialect: Their format.
        context: Picture size and class names, for formats that do not say them.
        progress: Listener.

    Raises:
        InputMissing: If the workspace has no data, or a path does not exist.
        KaleidoError: If two documents have one key, no document belongs to a record, or a file in
            the way is not ours (``would-overwrite``).
    """
    shards = workspace.data_shards()
    if not shards:
        raise InputMissing(str(workspace.data), "there are no data.", "See `kaleido data --help`.")
    summary = AnnotateSummary()
    documents = _documents(paths, dialect, context, summary)
    mark = fingerprint({name: document.to_json() for name, document in documents.items()})
    used: set[str] = set()
    found: dict[Path, list[tuple[str, RowOutcome, bytes]]] = {}
    with workspace.lock("layouts"):
        with progress.task("annotate", len(shards), "shard") as advance:
            for shard in shards:
                found[shard] = list(_rows(shard, documents, used))
                _count(summary, [row for _, row, _ in found[shard]])
                advance(1)
        # Before anything is written: a wrong format must not replace layouts that are right.
        _require_some(summary, paths, documents, shards)
        folder = workspace.latents(LAYOUTS)
        journal = Journal(folder, workspace.latents_journal(LAYOUTS))
        journal.begin(folder / shard.name for shard in found)
        for shard, rows in found.items():
            _write(workspace, shard, rows, {"dialect": dialect, "documents": mark})
            journal.end(folder / shard.name)
    left = [name for name in documents if name not in used]
    summary.unused, summary.unused_count = left[:10], len(left)
    return summary


def _documents(
    paths: Sequence[Path], dialect: str, context: Context | None, summary: AnnotateSummary
) -> dict[str, Document]:
    found: dict[str, Document] = {}
    for documents, report in read_files(paths, dialect, context):
        if report.problems:
            summary.reports.append(report)
        for document in documents:
            name = _plain(str(document.key))
            if name in found:
                raise KaleidoError(
                    name,
                    f"two documents have this name; the second is in {report.name}.",
                    "Annotations are matched by the file name of the picture, without its folder.",
                    code="bad-data",
                )
            found[name] = document
    summary.documents = len(found)
    return found


def _rows(
    shard: Path, documents: Mapping[str, Document], used: set[str]
) -> Iterator[tuple[str, RowOutcome, bytes]]:
    """Yield key, outcome and document of each record of a data shard."""
    manifest = read_manifest(shard)
    fit = str(manifest.options.get("fit", "keep")) if manifest else "keep"
    records = read_records(shard)
    for row in read_rows(shard):
        if row.outcome != "ok":
            continue
        record = next(records)
        name = _name(record, documents)
        if name is None:
            yield row.key, RowOutcome(row.key, "filtered", "no annotation"), b""
            continue
        used.add(name)
        placed = _placed(documents[name], record, fit)
        if isinstance(placed, str):
            yield row.key, RowOutcome(row.key, "failed", placed), b""
        else:
            yield row.key, RowOutcome(row.key, "ok"), placed.to_json().encode()


def _name(record: Record, documents: Mapping[str, Document]) -> str | None:
    stem = PurePosixPath(str(record.meta.get("file", ""))).name.rsplit(".", 1)[0]
    # The dialects cut a name at its first dot, as webdataset does.
    candidates = (record.key, stem, stem.split(".", 1)[0])
    return next((n for n in map(_plain, candidates) if n in documents), None)


def _plain(name: str) -> str:
    return unicodedata.normalize("NFC", name)


def _placed(document: Document, record: Record, fit: str) -> Document | str:
    """Move a document to where the record's picture was fitted, or say why it does not belong."""
    height, width = record.pixels.shape[:2]
    original = record.meta.get("original_size") or [width, height]
    size = document.image
    if size is not None:
        ratio = (size.width / size.height) / (original[0] / original[1])
        if abs(ratio - 1) > RATIO:
            return (
                f"the annotation is of a picture of {size.width} x {size.height} pixels, and this "
                f"one has {original[0]} x {original[1]}"
            )
    captioned = document.model_copy(
        update={"key": record.key, "caption": record.caption[:MAX_TEXT]}
    )
    placement = Placement.of_fit(original[0], original[1], fit)
    return place(captioned, placement, Image(width=width, height=height))


def _write(
    workspace: Workspace,
    shard: Path,
    rows: Sequence[tuple[str, RowOutcome, bytes]],
    options: Mapping[str, Any],
) -> None:
    data = read_manifest(shard)
    assert data is not None  # `data_shards` lists shards with a manifest
    path = workspace.latents(LAYOUTS) / shard.name
    extension = latent_extension(LAYOUTS)
    info = write_shard(path, ((key, {extension: text}) for key, _, text in rows if text))
    outcomes = [row for _, row, _ in rows]
    inputs = {"data": data.sha256}
    manifest = Manifest(
        stage=STAGE,
        version=VERSION,
        fingerprint=fingerprint(STAGE, VERSION, inputs, dict(options)),
        counts=count_outcomes(outcomes),
        sha256=info.sha256,
        inputs=inputs,
        options=dict(options),
    )
    write_manifest(path, manifest, outcomes)


def _count(summary: AnnotateSummary, rows: Sequence[RowOutcome]) -> None:
    counts = Counter(row.outcome for row in rows)
    summary.annotated += counts["ok"]
    summary.without += counts["filtered"]
    summary.failed += counts["failed"]
    failures = [(row.key, row.reason) for row in rows if row.outcome == "failed"]
    summary.failures += failures[: 10 - len(summary.failures)]


def _require_some(
    summary: AnnotateSummary,
    paths: Sequence[Path],
    documents: Mapping[str, Document],
    shards: Sequence[Path],
) -> None:
    if summary.annotated:
        return
    if summary.failed:
        key, why = summary.failures[0]
        hint = "See `kaleido data show` for what the records hold."
        raise KaleidoError(key, f"{why}.", hint, code="nothing-produced")
    raise KaleidoError(
        str(paths[0]),
        f"none of {len(documents):,} documents belongs to a record.",
        f"Documents are named like {next(iter(documents), '')!r}; records like "
        f"{_some_key(shards)!r}. Problems are listed by `kaleido z verify`.",
        code="nothing-produced",
    )


def _some_key(shards: Sequence[Path]) -> str:
    return next((row.key for shard in shards for row in read_rows(shard)), "")

"""Write the latents of a workspace as z documents, or in the format of another tool."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from pipelines.core.errors import InputMissing, KaleidoError
from pipelines.core.files import making_folder
from pipelines.core.images import picture_size
from pipelines.core.progress import SILENT, Progress
from pipelines.core.record import Record
from pipelines.documents.convert import require_allowed
from pipelines.documents.dialects.registry import writable
from pipelines.documents.document import Document
from pipelines.documents.part import MAX_TEXT
from pipelines.documents.problems import Loss
from pipelines.documents.projection import DOCUMENT_KINDS, document_of
from pipelines.latents.sequence import order_kinds
from pipelines.workspace.reader import extracted_kinds, latent_manifest, read_joined
from pipelines.workspace.workspace import Workspace

if TYPE_CHECKING:
    from pipelines.documents.dialects.base import WritableDialect


@dataclass
class ExportSummary:
    """What was written.

    Attributes:
        folder: Where.
        dialect: The format.
        kinds: The kinds of latents that were read.
        files: Number of files.
        documents: Number of documents, one a record.
        without: Records that have none of the kinds, and no document.
        lost: Kind of loss to the number of times it occurred.
    """

    folder: Path
    dialect: str
    kinds: tuple[str, ...]
    files: int = 0
    documents: int = 0
    without: int = 0
    lost: Counter[str] = field(default_factory=Counter)


def export(
    workspace: Workspace,
    dialect: str,
    out: Path,
    kinds: Sequence[str] | None = None,
    allowed: Sequence[str] = (),
    progress: Progress = SILENT,
) -> ExportSummary:
    """Write a document of each record that has latents. Nothing is left behind after an error.

    A format with one file a picture is written shard by shard; for the others all documents are
    held in memory.

    Args:
        workspace: With data and latents.
        dialect: The format.
        out: A new or empty folder.
        kinds: Kinds of latents; None takes all that are extracted from every shard.
        allowed: Kinds of losses that are accepted; ``all`` accepts every one.
        progress: Listener; told which kinds a document has no place for.

    Raises:
        InputMissing: If there are no data, or a kind is not extracted.
        KaleidoError: If the format cannot be written or would lose what is not allowed, no record
            has a latent, or `out` is not empty.
    """
    writer = writable(dialect)
    shards = workspace.data_shards()
    if not shards:
        raise InputMissing(str(workspace.data), "there are no data.", "See `kaleido data --help`.")
    summary = ExportSummary(out, dialect, _chosen(workspace, shards, kinds, progress))
    waiting: list[Document] = []
    with (
        making_folder(out) as folder,
        progress.task("export", len(shards), "shard") as advance,
    ):
        for shard in shards:
            waiting += _documents(workspace, shard, summary, allowed)
            if writer.per_picture:
                _write(writer, waiting, folder, summary, allowed)
                waiting.clear()
            advance(1)
        if not summary.documents:
            why = f"no record has a latent of {', '.join(summary.kinds)}."
            raise KaleidoError("export", why, "See `kaleido status`.", code="nothing-produced")
        if waiting:
            _write(writer, waiting, folder, summary, allowed)
    return summary


def _chosen(
    workspace: Workspace, shards: Sequence[Path], kinds: Sequence[str] | None, progress: Progress
) -> tuple[str, ...]:
    found = extracted_kinds(workspace, shards) if kinds is None else order_kinds(kinds)
    foreign = [kind for kind in found if kind not in DOCUMENT_KINDS]
    if foreign and kinds is not None:
        raise KaleidoError(
            foreign[0],
            "a document has no place for this kind.",
            f"Export some of {', '.join(DOCUMENT_KINDS)}.",
            code="bad-option",
        )
    for kind in foreign:
        progress.message(f"Left out: {kind}. A document has no place for this kind.")
    chosen = tuple(kind for kind in found if kind in DOCUMENT_KINDS)
    if not chosen:
        raise InputMissing(
            str(workspace.root / "latents"),
            "no kind of latents is extracted from every shard.",
            "Run `kaleido extract boxes` or another extraction first.",
        )
    return chosen


def _documents(
    workspace: Workspace, shard: Path, summary: ExportSummary, allowed: Sequence[str]
) -> list[Document]:
    """Make a document of each record that has a latent, and count them and the others."""
    tokenizer = ""
    if "tokens" in summary.kinds:
        made = latent_manifest(workspace, shard, "tokens")
        tokenizer = str(made.options.get("tokenizer", ""))
    found: list[Document] = []
    cut: dict[str, list[Loss]] = {}
    for record in read_joined(workspace, shard, summary.kinds):
        if not record.latents:
            summary.without += 1
            continue
        if len(record.caption) > MAX_TEXT:
            why = f"Only {MAX_TEXT:,} characters of the caption are kept."
            cut[record.key] = [Loss("caption", "caption", why)]
        found.append(_document(record, tokenizer))
    summary.documents += len(found)
    summary.lost.update(require_allowed(summary.dialect, cut, allowed))
    return found


def _document(record: Record, tokenizer: str) -> Document:
    width, height = picture_size(record.image, record.key)
    document = document_of(record.latents, record.caption[:MAX_TEXT], (height, width))
    tokens = document.tokens
    if tokens is not None:
        tokens = tokens.model_copy(update={"tokenizer": tokenizer})
    return document.model_copy(update={"key": record.key, "tokens": tokens})


def _write(
    writer: WritableDialect,
    documents: Sequence[Document],
    folder: Path,
    summary: ExportSummary,
    allowed: Sequence[str],
) -> None:
    written = writer.write(documents)
    summary.lost.update(require_allowed(summary.dialect, written.lost, allowed))
    for name, text in written.files.items():
        (folder / name).write_text(text, "utf-8", newline="\n")
    summary.files += len(written.files)

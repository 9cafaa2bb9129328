"""Write a workspace's data without the copies and leaks of `data check` into another one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

from pipelines.core.errors import KaleidoError
from pipelines.core.files import atomic_write
from pipelines.core.progress import SILENT, Progress
from pipelines.data.check import CheckSummary
from pipelines.data.writer import DataSummary, Row, ShardPlan, Source, write_data
from pipelines.workspace.manifest import Manifest, RowOutcome, read_manifest, read_rows
from pipelines.workspace.shards import read_records
from pipelines.workspace.workspace import SETTINGS_FILE, Workspace

VERSION = 1


def write_filtered(
    workspace: Workspace,
    target: Path,
    found: CheckSummary,
    licences: Sequence[str] | None = None,
    overwrite: bool = False,
    progress: Progress = SILENT,
) -> DataSummary:
    """Write the records worth training on; the workspace itself does not change.

    Copies that also have an earlier record's caption, copies of a record on the other side of the
    split, and records of other licences are left out. A further caption of an image is kept,
    on its side of the split. What is left out is recorded as filtered, with its reason. Latents
    have to be extracted anew.

    Args:
        workspace: The workspace that was checked.
        target: Folder of the other workspace; a new one gets this one's settings.
        found: The findings of `check_data`.
        licences: Licences to keep, as the records name them; None keeps all.
        overwrite: Replace data of another source in `target`.
        progress: Receives the progress.

    Raises:
        KaleidoError: If `target` is the workspace itself or holds other data, or no record has a
            licence that was named.
    """
    if target.resolve() == workspace.root:
        raise KaleidoError(
            str(target),
            "these are the data that were checked.",
            "Name another folder.",
            "bad-option",
        )
    unknown = sorted(set(licences or ()) - set(found.licences))
    if unknown:
        raise KaleidoError(
            ", ".join(unknown),
            "no record has this licence.",
            f"The data have: {', '.join(found.licences)}.",
            "bad-option",
        )
    manifests = {path: read_manifest(path) for path in workspace.data_shards()}
    shards = {path: manifest for path, manifest in manifests.items() if manifest}
    total = sum(sum(manifest.counts.values()) for manifest in shards.values())
    plans = _plans(shards, _reasons(found), licences)
    options = {"workspace": str(workspace.root), "licences": sorted(licences or ())}
    source = Source("data check --fix", VERSION, options)
    return write_data(_opened(workspace, target), source, plans, total, overwrite, progress)


def _opened(workspace: Workspace, target: Path) -> Workspace:
    if not (target / SETTINGS_FILE).exists():
        Workspace.init(target)
        atomic_write(target / SETTINGS_FILE, (workspace.root / SETTINGS_FILE).read_bytes())
    return Workspace.find(explicit=target)


def _reasons(found: CheckSummary) -> dict[str, str]:
    reasons = {}
    for copy in found.copies:
        if copy.splits[0] != copy.splits[1]:
            reasons[copy.key] = f"it looks like {copy.of}, on the other side of the split."
        elif copy.same_caption:
            reasons[copy.key] = f"it looks like {copy.of}, and has its caption."
    return reasons


def _plans(
    shards: Mapping[Path, Manifest], reasons: Mapping[str, str], licences: Sequence[str] | None
) -> Iterator[ShardPlan]:
    for path, manifest in shards.items():
        before = read_rows(path)
        left_out = [[row.key, reasons[row.key]] for row in before if row.key in reasons]
        rows = partial(_rows, path, before, reasons, licences)
        yield ShardPlan([manifest.sha256, left_out], rows)


def _rows(
    path: Path,
    before: Sequence[RowOutcome],
    reasons: Mapping[str, str],
    licences: Sequence[str] | None,
) -> Iterator[Row]:
    """Yield the rows of a shard in order; those without a record keep their outcome."""
    records = read_records(path)
    for row in before:
        if row.outcome != "ok":
            yield row
            continue
        record = next(records)
        licence = str(record.meta.get("licence", "unknown"))
        if row.key in reasons:
            yield RowOutcome(row.key, "filtered", reasons[row.key])
        elif licences is not None and licence not in licences:
            yield RowOutcome(row.key, "filtered", f"its licence is {licence}.")
        else:
            yield record

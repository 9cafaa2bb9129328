"""Check the data before hours are spent on training: copies, leaks, captions, licences."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from itertools import product

import numpy as np
from PIL import Image

from pipelines.core.progress import SILENT, Progress
from pipelines.workspace.inputs import require_data
from pipelines.workspace.manifest import read_manifest
from pipelines.workspace.shards import records_of
from pipelines.workspace.workspace import Workspace

BITS = 3
"""Images whose 64-bit hashes differ in at most so many bits are candidates."""

CELLS = 16
LEVELS, MEAN_LEVELS = 24, 5.0
"""Candidates are copies if the colours of `CELLS` x `CELLS` cells differ by at most so many of 255
levels in any cell, and in the mean: a JPEG errs most at edges, and little on the whole."""

BIN, SHIFT = 16, 6
"""Mean colours are sorted into bins of 16 levels; those of copies differ by 6 at most."""

CROWD = 64
"""Images of one bucket that later ones are compared with."""

FEW_WORDS = 2
"""Captions of fewer words say little."""


@dataclass(frozen=True)
class Copy:
    """An image that looks like an earlier one.

    Attributes:
        key: The record's key.
        of: The earlier record's.
        splits: Their splits, the earlier one's first.
        same_caption: Whether their captions are equal too.
    """

    key: str
    of: str
    splits: tuple[str, str]
    same_caption: bool


@dataclass
class CheckSummary:
    """The findings.

    Attributes:
        records: Number of records.
        failed: Input rows that gave no record, see `kaleido status --failed`.
        copies: Images that look like an earlier one.
        leaks: Copies on the other side of the split.
        repeated: Captions of several records with their counts, the most frequent first.
        short: Keys of records whose caption has fewer than `FEW_WORDS` words.
        licences: Licence -> records.
        splits: Split -> records.
    """

    records: int = 0
    failed: int = 0
    copies: list[Copy] = field(default_factory=list)
    leaks: list[Copy] = field(default_factory=list)
    repeated: list[tuple[str, int]] = field(default_factory=list)
    short: list[str] = field(default_factory=list)
    licences: dict[str, int] = field(default_factory=dict)
    splits: dict[str, int] = field(default_factory=dict)


def check_data(workspace: Workspace, progress: Progress = SILENT) -> CheckSummary:
    """Read all data shards, one after another.

    Args:
        workspace: A workspace with data.
        progress: Receives the progress.

    Raises:
        InputMissing: If there is no data.
    """
    shards = require_data(workspace)
    manifests = [manifest for manifest in map(read_manifest, shards) if manifest]
    counts = {name: sum(each.counts[name] for each in manifests) for name in ("ok", "failed")}
    summary = CheckSummary(failed=counts["failed"])
    captions: Counter[str] = Counter()
    licences: Counter[str] = Counter()
    splits: Counter[str] = Counter()
    seen: list[tuple[str, str, str]] = []
    finder = CopyFinder()
    with progress.task("data check", counts["ok"], unit="record") as advance:
        for record in records_of(shards):
            split = record.split
            captions[record.caption] += 1
            licences[str(record.meta.get("licence", "unknown"))] += 1
            splits[split] += 1
            if len(record.caption.split()) < FEW_WORDS:
                summary.short.append(record.key)
            earlier = finder.add(record.pixels)
            if earlier is not None:
                of, its_split, its_caption = seen[earlier]
                same = its_caption == record.caption
                summary.copies.append(Copy(record.key, of, (its_split, split), same))
            seen.append((record.key, split, record.caption))
            advance()
    summary.records = len(seen)
    summary.leaks = [copy for copy in summary.copies if len(set(copy.splits)) > 1]
    summary.repeated = [(caption, n) for caption, n in captions.most_common() if n > 1]
    summary.licences, summary.splits = dict(licences.most_common()), dict(splits)
    return summary


class CopyFinder:
    """Finds images that look like earlier ones, in time linear in their number.

    Candidates share one of four 16-bit bands of their 64-bit hashes, which two hashes that differ
    in at most `BITS` bits always do, and have about the same mean colour. Many smooth pictures
    share both, so a bucket holds `CROWD` of them at most: among more, a near copy may be missed; an
    image with the very same cells never is.
    """

    def __init__(self) -> None:
        self._hashes = np.zeros(1024, np.uint64)
        self._cells = np.zeros((1024, CELLS * CELLS * 3), np.uint8)
        self._count = 0
        self._buckets: dict[tuple[int, ...], list[int]] = {}
        self._same: dict[bytes, int] = {}

    def add(self, pixels: np.ndarray) -> int | None:
        """Take in an image, uint8 (height, width, 3); return the number of the first like it."""
        value, cells = dhash(pixels), thumbnail(pixels)
        near = self._same.get(cells.tobytes())
        if near is None:
            near = self._nearest(value, cells)
        number = self._count
        if number == len(self._hashes):
            self._hashes = np.concatenate([self._hashes, np.zeros_like(self._hashes)])
            self._cells = np.concatenate([self._cells, np.zeros_like(self._cells)])
        self._hashes[number], self._cells[number] = value, cells
        self._count += 1
        self._same.setdefault(cells.tobytes(), number)
        (colour,) = _colour_bins(cells, 0.0)
        for band in _bands(value):
            bucket = self._buckets.setdefault((*band, *colour), [])
            if len(bucket) < CROWD:
                bucket.append(number)
        return near

    def _nearest(self, value: int, cells: np.ndarray) -> int | None:
        keys = [(*band, *bins) for band in _bands(value) for bins in _colour_bins(cells, SHIFT)]
        found = sorted({number for key in keys for number in self._buckets.get(key, ())})
        candidates = np.array(found, np.int64)
        far = np.bitwise_count(self._hashes[candidates] ^ np.uint64(value))
        candidates = candidates[far <= BITS]
        gaps = np.abs(self._cells[candidates].astype(np.int16) - cells)
        candidates = candidates[(gaps.max(1) <= LEVELS) & (gaps.mean(1) <= MEAN_LEVELS)]
        return int(candidates[0]) if len(candidates) else None


def dhash(pixels: np.ndarray) -> int:
    """Hash an image by whether brightness rises from each of 8 x 8 cells to the next: 64 bits."""
    grey = Image.fromarray(pixels).convert("L").resize((9, 8), Image.Resampling.BOX)
    values = np.asarray(grey).astype(np.int16)
    return int.from_bytes(np.packbits(values[:, 1:] > values[:, :-1]).tobytes(), "big")


def thumbnail(pixels: np.ndarray) -> np.ndarray:
    """Return the mean colours of `CELLS` x `CELLS` cells, uint8; a small object moves one far."""
    small = Image.fromarray(pixels).resize((CELLS, CELLS), Image.Resampling.BOX)
    return np.asarray(small).ravel()


def _bands(value: int) -> list[tuple[int, int]]:
    return [(shift, (value >> shift) & 0xFFFF) for shift in range(0, 64, 16)]


def _colour_bins(cells: np.ndarray, shift: float) -> list[tuple[int, ...]]:
    """Return the bins of the mean colour, and those within `shift` levels of it."""
    mean = cells.reshape(-1, 3).mean(0)
    bins = [{int((m - shift) // BIN), int((m + shift) // BIN)} for m in mean]
    return list(product(*map(sorted, bins)))

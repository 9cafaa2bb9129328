"""What a look at the data should find before hours are spent on them."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

import numpy as np
from PIL import Image

from pipelines.core.errors import InputMissing
from pipelines.core.progress import SILENT, Progress
from pipelines.workspace.manifest import read_manifest
from pipelines.workspace.shards import records_of
from pipelines.workspace.workspace import Workspace

BITS = 3
"""Images whose hashes differ in so many of 64 bits are candidates; fewer bands would miss some."""

LEVELS = 24.0
"""They are copies if their colours differ by no more, of 255, in any of 8 x 8 cells."""

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
    """What was found.

    Attributes:
        records: Records looked at.
        failed: Input rows that gave none, see `kaleido status --failed`.
        copies: Images that look like earlier ones.
        leaks: Those of them that lie on the other side of the split.
        repeated: Captions that several records have, with their number, the most frequent first.
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
    """Look through the data shards, one after another.

    Args:
        workspace: With data.
        progress: Listener.

    Raises:
        InputMissing: If there are no data.
    """
    shards = workspace.data_shards()
    if not shards:
        raise InputMissing(str(workspace.data), "there are no data.", "Run `kaleido data …` first.")
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
    """Finds images that look like earlier ones: hashes by bands, then colours.

    Two hashes of 64 bits that differ in at most 3 have one of four bands of 16 bits in common, so
    only those need be compared. A band of a flat region, which every picture on white has, is left
    out where there are others: that may miss a copy, and keeps a million pictures from being
    compared with each other.
    """

    def __init__(self) -> None:
        self._hashes = np.zeros(1024, np.uint64)
        self._colours = np.zeros((1024, 192), np.uint8)
        self._count = 0
        self._bands: dict[tuple[int, int], list[int]] = {}

    def add(self, pixels: np.ndarray) -> int | None:
        """Take in an image, uint8 (height, width, 3); return the number of the first like it."""
        value, colours = dhash(pixels), thumbnail(pixels)
        near = self._nearest(value, colours)
        number = self._count
        if number == len(self._hashes):
            self._hashes = np.concatenate([self._hashes, np.zeros_like(self._hashes)])
            self._colours = np.concatenate([self._colours, np.zeros_like(self._colours)])
        self._hashes[number], self._colours[number] = value, colours
        self._count += 1
        for band in _bands(value):
            self._bands.setdefault(band, []).append(number)
        return near

    def _nearest(self, value: int, colours: np.ndarray) -> int | None:
        found = [np.array(self._bands.get(band, []), np.int64) for band in _bands(value)]
        candidates = np.unique(np.concatenate(found))
        far = np.bitwise_count(self._hashes[candidates] ^ np.uint64(value))
        candidates = candidates[far <= BITS]
        gaps = np.abs(self._colours[candidates].astype(np.int16) - colours).max(1, initial=0)
        candidates = candidates[gaps <= LEVELS]
        return int(candidates[0]) if len(candidates) else None


def dhash(pixels: np.ndarray) -> int:
    """Hash an image by whether brightness rises from each of 8 x 8 cells to the next: 64 bits."""
    grey = Image.fromarray(pixels).convert("L").resize((9, 8), Image.Resampling.BOX)
    values = np.asarray(grey).astype(np.int16)
    return int.from_bytes(np.packbits(values[:, 1:] > values[:, :-1]).tobytes(), "big")


def thumbnail(pixels: np.ndarray) -> np.ndarray:
    """Colours of 8 x 8 cells: uint8 (192,). A small object moves one of them far."""
    small = Image.fromarray(pixels).resize((8, 8), Image.Resampling.BOX)
    return np.asarray(small).ravel()


def _bands(value: int) -> list[tuple[int, int]]:
    bands = [(shift, (value >> shift) & 0xFFFF) for shift in range(0, 64, 16)]
    return [band for band in bands if band[1] not in (0, 0xFFFF)] or bands

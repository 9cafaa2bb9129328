"""The endless, seeded order in which training sees the records of a workspace."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from pipelines.core.errors import KaleidoError
from pipelines.core.fingerprint import fingerprint
from pipelines.core.record import Record
from pipelines.core.seeds import generator
from pipelines.latents.grid_shape import Shape
from pipelines.latents.items import LabelledList
from pipelines.latents.tokens import Tokens
from pipelines.workspace.inputs import require_data
from pipelines.workspace.manifest import read_manifest
from pipelines.workspace.reader import latent_manifest, read_joined, token_makers
from pipelines.workspace.workspace import Workspace

WINDOW_SHARDS = 8
"""Shards that are shuffled together; what they hold, still encoded, is what stays in memory."""

KEPT_BYTES = 256 * 2**20
"""Of encoded images that stay in memory beside them, so that small data are read only once."""

KEPT_RECORDS = 50_000
"""Records that do: with their latents they take some 12 KB each, and forked workers copy them."""


class RecordStream:
    """Training records by position: equal seed and position give equal records, in any process.

    An epoch visits the shards in a new order, a window of them at a time, and the records of a
    window in a new order. Records of the held-out split are left out, and, where kinds are wanted,
    those that have none of them.

    Args:
        workspace: Where the data lie.
        kinds: Latents to join; a record shows those that it has.
        seed: Source of the order.

    Attributes:
        size: Records in an epoch.
        found: Kind -> training records that have it.
        skipped: Training records that have none of the kinds.
        labels: Every label that occurs in the training records' latents.
        token_shapes: Every shape that their grids of visual tokens have: one a tokenizer.
        codebook: Hash of the visual tokenizer that wrote them; empty without tokens.
        identity: Hash of the shards of data and latents: a run cannot be gone on with on others.

    Raises:
        InputMissing: If there are no data, or a kind was not extracted.
        KaleidoError: If no record qualifies, or several visual tokenizers wrote the tokens.
    """

    def __init__(self, workspace: Workspace, kinds: Sequence[str], seed: int) -> None:
        self._workspace, self._kinds, self._seed = workspace, tuple(kinds), seed
        self._shards = require_data(workspace)
        self.skipped = 0
        self.found = dict.fromkeys(self._kinds, 0)
        self.labels: set[str] = set()
        self.token_shapes: set[Shape] = set()
        self._kept: dict[Path, list[Record]] = {}
        self._room = [KEPT_BYTES, KEPT_RECORDS]
        self.codebook = self._codebook() if "tokens" in self._kinds else ""
        self.identity = self._identity()
        self._counts = {path: self._count(path) for path in self._shards}
        self.size = sum(self._counts.values())
        if not self.size:
            raise KaleidoError(
                str(workspace.data),
                f"no training record has any of: {', '.join(self._kinds) or 'image, caption'}.",
                "`kaleido status` says why; other kinds can be chosen with --z.",
            )
        self._planned: tuple[int, list[list[Path]]] | None = None
        self._loaded: tuple[tuple[int, int], list[Record]] | None = None

    def _identity(self) -> str:
        data = [manifest.sha256 for path in self._shards if (manifest := read_manifest(path))]
        latents = [
            latent_manifest(self._workspace, path, kind).sha256
            for path in self._shards
            for kind in self._kinds
        ]
        return fingerprint(data, latents)

    @property
    def gaps(self) -> str:
        """What is missing, as a sentence for the user; empty if nothing is."""
        parts = [
            f"{kind} in {count:,} of {self.size + self.skipped:,} training records"
            for kind, count in self.found.items()
            if count < self.size + self.skipped
        ]
        return f"Found {', '.join(parts)}; records show the kinds they have." if parts else ""

    def _codebook(self) -> str:
        folder = self._workspace.latents("tokens")
        found = token_makers(folder / path.name for path in self._shards)
        if len(found) > 1:
            raise KaleidoError(
                str(folder),
                f"{len(found)} visual tokenizers wrote these shards, and their ids differ.",
                "Run `kaleido extract tokens` again.",
            )
        return next(iter(found), "")

    def records(self) -> Iterator[Record]:
        """Every record of an epoch once, in the order of the data."""
        for path in self._shards:
            yield from self._eligible(path)

    def batch(self, start: int, count: int) -> list[Record]:
        """Records at positions `start` to ``start + count`` of the endless order."""
        return [self._at(position) for position in range(start, start + count)]

    def _at(self, position: int) -> Record:
        epoch, offset = divmod(position, self.size)
        if self._planned is None or self._planned[0] != epoch:
            self._planned = (epoch, self._windows(epoch))
        for index, window in enumerate(self._planned[1]):
            length = sum(self._counts[path] for path in window)
            if offset < length:
                return self._window(epoch, index, window)[offset]
            offset -= length
        raise AssertionError("a position lies in one of its epoch's windows")

    def _windows(self, epoch: int) -> list[list[Path]]:
        order = generator(self._seed, "shard order", epoch).permutation(len(self._shards))
        shards = [self._shards[index] for index in order]
        return [shards[at : at + WINDOW_SHARDS] for at in range(0, len(shards), WINDOW_SHARDS)]

    def _window(self, epoch: int, index: int, window: list[Path]) -> list[Record]:
        if self._loaded is None or self._loaded[0] != (epoch, index):
            self._loaded = None  # else two windows are in memory while one is read
            records = [record for path in window for record in self._eligible(path)]
            order = generator(self._seed, "record order", f"{epoch} {index}")
            shuffled = [records[at] for at in order.permutation(len(records))]
            self._loaded = ((epoch, index), shuffled)
        return self._loaded[1]

    def _eligible(self, path: Path) -> list[Record]:
        if path in self._kept:
            return self._kept[path]
        return [record for record in self._read(path) if self._shows(record)]

    def _read(self, path: Path) -> Iterator[Record]:
        joined = read_joined(self._workspace, path, self._kinds)
        return (record for record in joined if not record.heldout)

    def _shows(self, record: Record) -> bool:
        return bool(record.latents) or not self._kinds

    def _count(self, path: Path) -> int:
        records = []
        for record in self._read(path):
            self._note(record)
            if self._shows(record):
                records.append(record)
            else:
                self.skipped += 1
        needed = [sum(len(record.image) for record in records), len(records)]
        left = [room - need for room, need in zip(self._room, needed, strict=True)]
        if min(left) >= 0:
            self._kept[path], self._room = records, left
        return len(records)

    def _note(self, record: Record) -> None:
        for kind, latent in record.latents.items():
            self.found[kind] += 1
            if isinstance(latent, LabelledList):
                self.labels.update(item.label for item in latent.items)
            elif isinstance(latent, Tokens):
                self.token_shapes.add(latent.shape)

"""The endless, seeded order in which training sees the records of a workspace."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from pipelines.core.errors import KaleidoError
from pipelines.core.fingerprint import fingerprint
from pipelines.core.record import Record
from pipelines.core.seeds import generator
from pipelines.latents import grid_shape
from pipelines.latents.caption_states import CaptionStates
from pipelines.latents.description import Description
from pipelines.latents.image_latents import ImageLatents
from pipelines.latents.registry import stored_class
from pipelines.models.shapes import Shape, nearest_shape
from pipelines.train.order import WINDOW_SHARDS, BucketOrder, Order
from pipelines.workspace.index import ShardIndex
from pipelines.workspace.inputs import require_data
from pipelines.workspace.manifest import read_manifest
from pipelines.workspace.reader import latent_extension, latent_manifest, token_makers
from pipelines.workspace.shards import IMAGE_EXTENSIONS, damaged, make_record
from pipelines.workspace.statistics import (
    HELDOUT,
    ROWS,
    SIZES,
    merge,
    read_data_statistics,
    read_latent_statistics,
    read_ranges,
    read_sizes,
)
from pipelines.workspace.workspace import CAPTION_STATES, IMAGE_LATENTS, Workspace


class RecordStream:
    """Training records by position: equal seed and position give equal records, in any process.

    For the order see `Order`, and `arrange`. Records of the held-out split are left out, and, where
    kinds are wanted, those that have none of them.

    Which records these are follows from the statistics of the shards, so nothing is read before
    the first batch, and a batch reads its own records only.

    Args:
        workspace: Where the data are.
        kinds: Latents to join; a record has those that were extracted.
        seed: Source of the order.
        images: Whether to read images; without, `Record.image` is empty.
        encoded: Whether pictures are needed as image latents, which `encoding` reads; records
            without them are left out.

    Attributes:
        size: Records in an epoch.
        heldout: Number of held-out records.
        found: Kind -> training records that have it.
        skipped: Training records that have none of the kinds.
        labels: All labels of the training records' latents. Of a shard with very many, the longest.
        longest: The longest description of each shard, as it stands in z.
        shapes: Shapes of the pictures, the most frequent first; empty before `arrange`.
        token_shapes: All shapes of the grids of visual tokens: one per tokenizer.
        codebook: Hash of the visual tokenizer that wrote them; empty without tokens.
        identity: Hash of the shards of data and latents: a run resumes only on the same ones.
        has_states: Whether every record has states of its caption, of a prior or of a base.

    Raises:
        InputMissing: If there are no data, or a kind was not extracted.
        KaleidoError: If no record qualifies, or several visual tokenizers wrote the tokens.
    """

    def __init__(
        self,
        workspace: Workspace,
        kinds: Sequence[str],
        seed: int,
        images: bool = True,
        encoded: bool = False,
    ) -> None:
        self._workspace, self._kinds, self._seed = workspace, tuple(kinds), seed
        self._shards = require_data(workspace)
        self._extensions = ("json", *(IMAGE_EXTENSIONS if images else ()))
        self._needed = (IMAGE_LATENTS,) if encoded else ()
        self.codebook = self._codebook() if "tokens" in self._kinds else ""
        self.identity = self._identity()
        self.skipped = self.heldout = 0
        self.found = dict.fromkeys(self._kinds, 0)
        self._rows: dict[Path, array[int]] = {}
        self._heldout: dict[Path, array[int]] = {}
        self._heldout_shown: dict[Path, array[int]] = {}
        self._count()
        self.size = sum(map(len, self._rows.values()))
        if not self.size:
            raise KaleidoError(
                str(workspace.data),
                f"no training record has any of: {', '.join(self._kinds) or 'image, caption'}.",
                "`kaleido status` says why; other kinds can be chosen with --z.",
                code="nothing-produced",
            )
        self._order: Order | BucketOrder | FixedOrder = Order(seed, self._rows)
        self.shapes: tuple[Shape, ...] = ()
        self.has_states = False
        self._sizes: dict[Path, list[tuple[int, int]]] = {}
        self._indexes: dict[Path, ShardIndex] = {}

    def _identity(self) -> str:
        data = [manifest.sha256 for path in self._shards if (manifest := read_manifest(path))]
        latents = [
            latent_manifest(self._workspace, path, kind).sha256
            for path in self._shards
            for kind in (*self._kinds, *self._needed)
        ]
        return fingerprint(data, latents)

    def _codebook(self) -> str:
        folder = self._workspace.latents("tokens")
        found = token_makers(folder / path.name for path in self._shards)
        if len(found) > 1:
            raise KaleidoError(
                str(folder),
                f"{len(found)} visual tokenizers wrote these shards, and their ids differ.",
                "Run `kaleido extract tokens` again.",
                code="model-mismatch",
            )
        return next(iter(found), "")

    def _count(self) -> None:
        """Find the rows of each shard that are seen, from the statistics of all shards."""
        parts: list[dict[str, Any]] = []
        for path in self._shards:
            manifest = read_manifest(path)
            count = manifest.counts["ok"] if manifest else 0
            heldout = read_ranges(read_data_statistics(self._workspace, path)[HELDOUT])
            training = np.ones(count, dtype=bool)
            training[heldout] = False
            shown = np.zeros(count, dtype=bool)
            for kind in self._kinds:
                part = read_latent_statistics(self._workspace, path, kind)
                has = np.zeros(count, dtype=bool)
                has[read_ranges(part[ROWS])] = True
                self.found[kind] += int((has & training).sum())
                shown |= has
                parts.append(dict(part))
            if not self._kinds:
                shown[:] = True
            for kind in self._needed:
                has = np.zeros(count, dtype=bool)
                has[read_ranges(read_latent_statistics(self._workspace, path, kind)[ROWS])] = True
                shown &= has
            self._heldout[path] = _packed(heldout)
            self._heldout_shown[path] = _packed(row for row in heldout if shown[row])
            self._rows[path] = _packed(np.flatnonzero(training & shown).tolist())
            self.heldout += len(heldout)
            self.skipped += int((training & ~shown).sum())
        merged = merge(parts)
        self.labels: set[str] = set(merged.get("labels", ()))
        self.longest: list[str] = merged.get("longest", [])
        self.token_shapes = {grid_shape.Shape(*shape) for shape in merged.get("shapes", ())}

    @property
    def gaps(self) -> str:
        """A sentence about missing latents, for the user; empty if none are missing."""
        parts = [
            f"{kind} in {count:,} of {self.size + self.skipped:,} training records"
            for kind, count in self.found.items()
            if count < self.size + self.skipped
        ]
        return f"Found {', '.join(parts)}; records show the kinds they have." if parts else ""

    def batch(self, start: int, count: int) -> list[Record]:
        """Read the records at positions `start` to ``start + count`` of the endless order.

        Of several descriptions of a record each epoch sees one.
        """
        places = range(start, start + count)
        return [self._drawn(self._read(*self._order.place(at)), at // self.size) for at in places]

    def _drawn(self, record: Record, epoch: int) -> Record:
        """Draw one of several descriptions, by its weight."""
        found = record.latents.get(Description.kind)
        if not isinstance(found, Description) or not found.others:
            return record
        share = generator(self._seed, "description", f"{epoch} {record.key}").random()
        return replace(record, latents={**record.latents, found.kind: found.drawn(share)})

    def arrange(self, shapes: Sequence[Shape], unit: int) -> None:
        """Change the order, so that each unit of it holds pictures of one shape.

        Where all pictures have one shape, the order stays.

        Args:
            shapes: The shapes; a picture takes the nearest one.
            unit: Records of one shape, from every multiple of it on: those of a step.
        """
        buckets: dict[Shape, dict[Path, array[int]]] = {}
        for path, rows in self._rows.items():
            sizes = self._sizes_of(path)
            for row in rows:
                shape = nearest_shape(sizes[row], shapes)
                buckets.setdefault(shape, {}).setdefault(path, _packed()).append(row)
        counts = {shape: sum(map(len, rows.values())) for shape, rows in buckets.items()}
        self.shapes = tuple(sorted(counts, key=lambda shape: (-counts[shape], shape)))
        if len(self.shapes) > 1:
            self._order = BucketOrder(self._seed, [buckets[shape] for shape in self.shapes], unit)

    def shape(self, position: int) -> Shape:
        """Return the shape at a position, after `arrange`."""
        if isinstance(self._order, BucketOrder):
            return self.shapes[self._order.bucket(position)]
        return self.shapes[0]

    def picture_size(self, position: int) -> tuple[int, int]:
        """Return the width and height of the picture at a position."""
        path, row = self._order.place(position)
        return self._sizes_of(path)[row]

    def picture_sizes(self) -> Counter[tuple[int, int]]:
        """Count the training pictures by width and height."""
        places = ((path, row) for path, rows in self._rows.items() for row in rows)
        return Counter(self._sizes_of(path)[row] for path, row in places)

    def _sizes_of(self, path: Path) -> list[tuple[int, int]]:
        if path not in self._sizes:
            found = read_data_statistics(self._workspace, path)[SIZES]
            self._sizes[path] = read_sizes(found)
        return self._sizes[path]

    def keys(self, start: int, count: int) -> list[str]:
        """Return the keys of the records that `batch` reads."""
        places = [self._order.place(position) for position in range(start, start + count)]
        return [self._index(path).keys[row] for path, row in places]

    def encoding(self, position: int) -> np.ndarray:
        """Read the image latents at a position: float16 (channels, rows, columns)."""
        path, row = self._order.place(position)
        found = self._latent(path, self._index(path).keys[row], IMAGE_LATENTS)
        assert isinstance(found, ImageLatents)  # rows without are left out
        return found.values

    def caption_states(self, position: int) -> np.ndarray:
        """Read the states of the caption at a position: float32 (tokens, width)."""
        found: CaptionStates = self.stored(position, CAPTION_STATES)
        return found.values

    def stored(self, position: int, kind: str) -> Any:
        """Read what a shard keeps of the record at a position beside z; every record has it."""
        path, row = self._order.place(position)
        found = self._latent(path, self._index(path).keys[row], kind)
        assert found is not None
        return found

    def held_out(self, limit: int) -> list[Record]:
        """Read the first records of the held-out split, at most `limit`, without latents."""
        places = [(path, row) for path, rows in self._heldout.items() for row in rows]
        return [self._read(path, row, ()) for path, row in places[:limit]]

    def held_out_view(self) -> HeldOutView:
        """Return held-out records that have one of the kinds, with their latents.

        Where pictures have several shapes, those of the most frequent one, so that they can be in
        one batch.
        """
        places = [(path, row) for path, rows in self._heldout_shown.items() for row in rows]
        if len(self.shapes) > 1:
            most = self.shapes[0]
            places = [
                (path, row)
                for path, row in places
                if nearest_shape(self._sizes_of(path)[row], self.shapes) == most
            ]
        return HeldOutView(self, places)

    def _read(self, path: Path, row: int, kinds: Sequence[str] | None = None) -> Record:
        index = self._index(path)
        key = index.keys[row]
        fields = index.read(key, self._extensions)
        images = [data for name, data in fields.items() if name != "json"]
        if len(images) != len(self._extensions[1:2]):
            raise damaged(path, f"row {key!r} has {len(images)} images in place of one.")
        record = make_record(path, key, fields.get("json", b""), b"".join(images))
        wanted = self._kinds if kinds is None else kinds
        found = {kind: self._latent(path, key, kind) for kind in wanted}
        return replace(
            record, latents={k: latent for k, latent in found.items() if latent is not None}
        )

    def _latent(self, data_shard: Path, key: str, kind: str) -> Any:
        index = self._index(self._workspace.latents(kind) / data_shard.name)
        if key not in index:
            return None
        name = latent_extension(kind)
        return stored_class(kind).from_bytes(index.read(key, (name,)).get(name, b""))

    def _index(self, path: Path) -> ShardIndex:
        if path not in self._indexes:
            places = 1 + len(self._kinds) + len(self._needed) + self.has_states
            if len(self._indexes) > WINDOW_SHARDS * places:
                self._indexes.clear()  # a new window has begun
            self._indexes[path] = ShardIndex(self._workspace, path)
        return self._indexes[path]


def _packed(rows: Iterable[int] = ()) -> array[int]:
    """Pack the rows of a shard, four bytes each: a list of a million numbers takes 36 MB."""
    return array("i", rows)


class HeldOutView(RecordStream):
    """The held-out records of a stream, in the order of the shards.

    Args:
        stream: Reads them.
        places: Shard and row of each.
    """

    def __init__(self, stream: RecordStream, places: Sequence[tuple[Path, int]]) -> None:
        self.__dict__ |= stream.__dict__
        self._order = FixedOrder(places)
        self.size = len(places)


class FixedOrder:
    """Rows in a given order, each once."""

    def __init__(self, places: Sequence[tuple[Path, int]]) -> None:
        self._places = places

    def place(self, position: int) -> tuple[Path, int]:
        """Return the shard of a position, and the row in it."""
        return self._places[position]

"""The endless, seeded order of rows: which one stands at a position."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from pipelines.core.seeds import generator

WINDOW_SHARDS = 8
"""Shards that are shuffled together; their indexes are in memory at one time."""

Place = tuple[Path, int]
"""A shard, and a row in it."""


class Order:
    """Rows by position: an epoch visits the shards in a new order, a window of them at a time.

    Args:
        seed: Source of the order.
        rows: Shard -> its rows that are seen.

    Attributes:
        size: Rows in an epoch.
    """

    def __init__(self, seed: int, rows: Mapping[Path, Sequence[int]]) -> None:
        self._seed, self._rows, self._shards = seed, rows, list(rows)
        self.size = sum(map(len, rows.values()))
        self._planned: tuple[int, list[list[Path]]] | None = None
        self._shuffled: tuple[tuple[int, int], list[Place]] | None = None

    def place(self, position: int) -> Place:
        """Return the row at a position."""
        epoch, offset = divmod(position, self.size)
        if self._planned is None or self._planned[0] != epoch:
            self._planned = (epoch, self._windows(epoch))
        for number, window in enumerate(self._planned[1]):
            length = sum(len(self._rows[path]) for path in window)
            if offset < length:
                return self._window(epoch, number, window)[offset]
            offset -= length
        raise AssertionError("a position lies in one of its epoch's windows")

    def _windows(self, epoch: int) -> list[list[Path]]:
        order = generator(self._seed, "shard order", epoch).permutation(len(self._shards))
        shards = [self._shards[index] for index in order]
        return [shards[at : at + WINDOW_SHARDS] for at in range(0, len(shards), WINDOW_SHARDS)]

    def _window(self, epoch: int, number: int, window: Sequence[Path]) -> list[Place]:
        if self._shuffled is None or self._shuffled[0] != (epoch, number):
            places = [(path, row) for path in window for row in self._rows[path]]
            order = generator(self._seed, "record order", f"{epoch} {number}")
            shuffled = [places[at] for at in order.permutation(len(places))]
            self._shuffled = ((epoch, number), shuffled)
        return self._shuffled[1]


class BucketOrder:
    """Rows of several buckets, in units of one bucket each.

    Every bucket has an endless order of its own, from which its units are cut. In each epoch it
    gets as many units as its rows fill; what is left of them goes on into its next unit. So all
    rows are seen equally often, whatever the sizes of buckets and units. The units of an epoch are
    interleaved at random, evenly over the epoch, so that all buckets are at about the same shards.

    Args:
        seed: Source of the order.
        buckets: The rows of each bucket, by shard; none is empty.
        unit: Rows in a unit; a unit begins at every multiple of it.
    """

    def __init__(
        self, seed: int, buckets: Sequence[Mapping[Path, Sequence[int]]], unit: int
    ) -> None:
        self._seed, self._unit = seed, unit
        self._orders = [Order(seed, rows) for rows in buckets]
        self.size = sum(order.size for order in self._orders)
        self._planned: tuple[int, list[tuple[int, int]]] | None = None

    def bucket(self, position: int) -> int:
        """Return the number of the bucket at a position."""
        return self._find(position // self._unit)[0]

    def place(self, position: int) -> Place:
        """Return the row at a position."""
        bucket, number = self._find(position // self._unit)
        return self._orders[bucket].place(number * self._unit + position % self._unit)

    def _find(self, unit: int) -> tuple[int, int]:
        """Return the bucket of a unit, and the unit's number in that bucket."""
        epoch = unit * self._unit // self.size
        while self._before(epoch + 1) <= unit:  # rounding down, epochs begin somewhat earlier
            epoch += 1
        if self._planned is None or self._planned[0] != epoch:
            self._planned = (epoch, self._units(epoch))
        return self._planned[1][unit - self._before(epoch)]

    def _before(self, epoch: int) -> int:
        """Return the number of units before an epoch."""
        return sum(epoch * order.size // self._unit for order in self._orders)

    def _units(self, epoch: int) -> list[tuple[int, int]]:
        rng = generator(self._seed, "bucket order", epoch)
        placed: list[tuple[float, int, int]] = []
        for bucket, order in enumerate(self._orders):
            first, end = (at * order.size // self._unit for at in (epoch, epoch + 1))
            times = (rng.random(end - first) + range(end - first)) / max(end - first, 1)
            placed += [(time, bucket, first + number) for number, time in enumerate(times.tolist())]
        return [(bucket, number) for _, bucket, number in sorted(placed)]

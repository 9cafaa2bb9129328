"""The order of rows in buckets: a function of seed and position, fair to every row."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.train.order import WINDOW_SHARDS, BucketOrder, Order

SHARDS = [Path(f"{number:06d}.tar") for number in range(3)]


def split(count: int, start: int = 0) -> dict[Path, list[int]]:
    """Deal rows to shards, one after the other."""
    rows: dict[Path, list[int]] = {}
    for row in range(start, start + count):
        rows.setdefault(SHARDS[row % len(SHARDS)], []).append(row)
    return rows


def buckets_of(counts: list[int]) -> list[dict[Path, list[int]]]:
    return [split(count, 1000 * number) for number, count in enumerate(counts)]


counts = st.lists(st.integers(1, 30), min_size=2, max_size=5)


@settings(max_examples=40, deadline=None)
@given(counts, st.integers(1, 9), st.integers(0, 3))
def test_a_unit_holds_one_bucket_and_every_row_is_seen_equally_often(counts, unit, seed):
    order = BucketOrder(seed, buckets_of(counts), unit)
    epochs = unit * 3  # after which every bucket has come out even
    places = [order.place(position) for position in range(epochs * sum(counts))]
    for start in range(0, len(places), unit):
        rows = {place[1] // 1000 for place in places[start : start + unit]}
        assert rows == {order.bucket(start)} or start + unit > len(places)
    seen = Counter(places)
    assert len(seen) == sum(counts)
    assert set(seen.values()) == {epochs}


@settings(max_examples=20, deadline=None)
@given(counts, st.integers(1, 9), st.lists(st.integers(0, 5000), min_size=1, max_size=20))
def test_the_row_at_a_position_depends_on_seed_and_position_alone(counts, unit, positions):
    order = BucketOrder(1, buckets_of(counts), unit)
    found = [order.place(position) for position in positions]
    again = [BucketOrder(1, buckets_of(counts), unit).place(position) for position in positions]
    assert found == again
    assert [order.place(position) for position in reversed(positions)] == found[::-1]


def test_buckets_are_mixed_over_the_epoch():
    order = BucketOrder(0, buckets_of([300, 100]), 4)
    buckets = [order.bucket(4 * unit) for unit in range(100)]
    for start in range(0, 100, 20):
        assert 3 <= sum(buckets[start : start + 20]) <= 7  # a quarter of them
    other = BucketOrder(1, buckets_of([300, 100]), 4)
    assert buckets != [other.bucket(4 * unit) for unit in range(100)]


def test_a_single_bucket_keeps_the_plain_order():
    plain, one = Order(3, split(17)), BucketOrder(3, [split(17)], 5)
    assert [one.place(at) for at in range(60)] == [plain.place(at) for at in range(60)]


def test_an_epoch_goes_through_windows_of_shards():
    rows = {Path(f"{number:06d}.tar"): range(5, 8) for number in range(2 * WINDOW_SHARDS + 4)}
    order = Order(5, rows)
    assert order.size == 60
    first, second = ([order.place(60 * epoch + at) for at in range(60)] for epoch in (0, 1))
    assert first != second
    for epoch in (first, second):
        assert sorted(epoch) == [(path, row) for path in rows for row in rows[path]]
        windows = [epoch[at : at + 24] for at in (0, 24, 48)]
        assert [len({path for path, _ in window}) for window in windows] == [8, 8, 4]
        assert len({path for path, _ in windows[0][:8]}) > 4  # mixed, not one after the other
    assert {path for path, _ in first[:24]} != {path for path, _ in second[:24]}
    assert Order(6, rows).place(0) != order.place(0)
    backwards = Order(5, rows)
    assert [backwards.place(at) for at in reversed(range(120))] == (first + second)[::-1]

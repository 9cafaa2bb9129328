"""The targets of the fuzzer hold for their seeds, and for seeds that were cut or changed."""

from __future__ import annotations

import random

import pytest

from tests.fuzz.targets import TARGETS


@pytest.mark.parametrize("name", TARGETS)
def test_seeds_and_their_neighbours_are_no_fault(name):
    target, rng = TARGETS[name], random.Random(0)
    for seed in target.seeds():
        target.run(seed)
        for _ in range(20):
            data = bytearray(seed)
            for _ in range(rng.randrange(1, 4)):
                data[rng.randrange(len(data))] = rng.randrange(256)
            target.run(bytes(data[: rng.randrange(len(data) + 1)] if rng.random() < 0.3 else data))
    target.run(b"")

"""The measurement of samplers: the same z in every way, compared with the first."""

from __future__ import annotations

import pytest

from pipelines.embedded.paths import embedded_path
from pipelines.sample.bundle import load_bundle
from pipelines.scenes.heldout import fresh_captions
from pipelines.scenes.judge import Judge
from recipes.measure_samplers import measure


def test_each_way_is_compared_with_the_first():
    judge = Judge.load(embedded_path("judge"))
    ways = ("euler:6", "euler:2", "dpm++:6", "euler:6 ")
    found = measure(load_bundle(embedded=True), judge, fresh_captions(2), 2, ways)
    assert list(found) == list(ways)
    assert found["euler:6"]["levels"] == found["euler:6 "]["levels"] == 0.0
    assert found["euler:2"]["levels"] > found["dpm++:6"]["levels"] > 0.0
    for values in found.values():
        assert 0.0 <= values["kept"][0] <= 1.0 and 1.0 <= values["vendi"][0] <= 2.0
    assert found["euler:2"]["seconds"] < found["euler:6"]["seconds"]
    with pytest.raises(ValueError):
        measure(load_bundle(embedded=True), judge, fresh_captions(1), 1, ["euler:many"])

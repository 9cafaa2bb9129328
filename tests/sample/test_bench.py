from __future__ import annotations

import json
import tomllib

import pytest

from pipelines.sample import bench as benches
from pipelines.sample.bench import Timing, _fastest, bench
from pipelines.workspace.config import override
from pipelines.workspace.settings import Settings


@pytest.fixture(autouse=True)
def short(monkeypatch):
    monkeypatch.setattr(benches, "ROUNDS", 3)
    monkeypatch.setattr(benches, "BATCHES", (1, 2))
    monkeypatch.setattr(benches, "BATCH", 2)


def test_every_way_and_batch_is_measured_and_explained(bundle):
    found = bench(bundle, with_compile=False)
    assert [each.speed for each in found.ways] == list(benches.WAYS)
    assert found.ways[0].ratio == 1.0 and found.ways[0].levels == 0.0
    assert all(each.milliseconds > 0 for each in (*found.ways, *found.batches))
    assert found.batch_size in (1, 2) and found.speed in benches.WAYS
    assert len(found.reasons) == len(found.ways) + 2
    assert "GPU" in found.reasons[-1]


def test_a_way_that_fails_is_named_and_not_chosen(bundle, monkeypatch):
    def compile(network):
        raise RuntimeError("no compiler is here.\nlong story")

    monkeypatch.setattr(benches.torch, "compile", compile)
    found = bench(bundle, with_compile=True)
    last = found.ways[-1]
    assert "compile" in last.speed and last.failed == "no compiler is here"
    assert "compile" not in found.speed
    assert any("cannot be used here (no compiler is here)" in each for each in found.reasons)


def timing(*speed: str, ratio: float, low: float = 1.01, levels: float = 0.0) -> Timing:
    return Timing(speed, 16, 1.0, ratio, low, ratio, levels)


def test_a_way_is_chosen_only_if_it_is_surely_faster_and_looks_the_same():
    plain = timing(ratio=1.0, low=1.0)
    assert _fastest([plain, timing("bf16", ratio=1.04)]) == ()
    assert _fastest([plain, timing("bf16", ratio=1.5, low=0.9)]) == ()
    assert _fastest([plain, timing("bf16", ratio=2.0, levels=3.0)]) == ()
    several = [plain, timing("channels-last", ratio=1.2), timing("bf16", ratio=1.4)]
    assert _fastest(several) == ("bf16",)


def test_what_the_command_prints_is_a_part_of_a_settings_file(invoke, monkeypatch, tmp_path):
    monkeypatch.setattr(benches, "BATCHES", (1,))
    monkeypatch.setattr(benches, "WAYS", benches.WAYS[:2])
    monkeypatch.chdir(tmp_path)
    said = invoke("doctor", "--bench")
    table = tomllib.loads(said.out[said.out.index("[sample]") :])
    changes = {f"sample.{key}": value for key, value in table["sample"].items()}
    assert override(Settings(), changes).sample.batch_size == 1
    assert not list(tmp_path.iterdir())


def test_the_command_without_it_is_as_before(invoke):
    assert "packages" in json.loads(invoke("doctor", "--json").out)
    invoke("doctor", "--compile", code=2)

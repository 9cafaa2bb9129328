from __future__ import annotations

import json
import tomllib

import numpy as np
import pytest

from pipelines.sample import bench as benches
from pipelines.sample.bench import Timing, _fastest, _in_turns, bench
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


class Subject:
    """Takes known times, in seconds, for 2 pictures; draws a grey that a way shifts."""

    def __init__(self, **seconds: list[float]) -> None:
        self.left = {name: list(values) for name, values in seconds.items()}
        self.asked: list[str] = []

    def draw(self, speed: tuple[str, ...], batch: int) -> np.ndarray:
        if speed == ("broken",):
            raise RuntimeError("no kernel.\nlong story")
        grey = np.full((batch, 2, 2, 3), 9, np.uint8)
        grey[0] += 3 * len(speed)  # one of two pictures
        return grey

    def seconds(self, speed: tuple[str, ...], batch: int) -> float:
        self.asked.append(speed[0] if speed else "plain")
        return self.left[self.asked[-1]].pop(0) * benches.PASSES * batch

    def peak(self, speed: tuple[str, ...], batch: int) -> int:
        return 7


def test_ways_are_compared_round_by_round():
    """Ratios of 1, 2 and 4: their median and their second least count, and times in ms."""
    subject = Subject(plain=[0.004, 0.008, 0.002], fast=[0.004, 0.004, 0.0005])
    plain, broken, fast = _in_turns(subject, [((), 2), (("broken",), 2), (("fast",), 2)])
    assert plain == Timing((), 2, 4.0, 1.0, 1.0, 1.0, 0.0, 7)
    assert broken == Timing(("broken",), 2, failed="no kernel")
    assert fast == Timing(("fast",), 2, 4.0, 2.0, 2.0, 4.0, 1.5, 7)
    assert subject.asked == ["plain", "fast"] * 3


def test_what_cannot_draw_the_least_is_an_error():
    with pytest.raises(RuntimeError):
        _in_turns(Failing(), [((), 1), ((), 2)])
    found = _in_turns(Failing(1), [((), 1), ((), 2)])
    assert [each.failed for each in found] == ["", "too many"]


class Failing(Subject):
    """Draws no more than some pictures."""

    def __init__(self, most: int = 0) -> None:
        super().__init__(plain=[1.0] * 6)
        self.most = most

    def draw(self, speed: tuple[str, ...], batch: int) -> np.ndarray:
        if batch > self.most:
            raise RuntimeError("too many")
        return super().draw(speed, batch)


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

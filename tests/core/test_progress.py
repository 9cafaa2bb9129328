"""Progress: the rate, and plain lines that are few enough for a log."""

from __future__ import annotations

import pytest

from pipelines.core import progress


class Clock:
    """A clock that is set by hand."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_without_a_console_lines_go_to_stderr(capsys):
    lines = progress.LineProgress()
    lines.message("a recipe begins")
    with lines.task("train", 4, "step", done=1) as advance:
        advance(3, "loss 0.5")
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("a recipe begins\ntrain: 4/4 steps, ")
    assert err.endswith(", loss 0.5\n")


def test_a_line_comes_early_then_every_tenth(clock):
    printed: list[str] = []
    task = progress.LineTask(printed.append, "train", 100, "step", done=20, clock=clock)
    for _ in range(80):
        clock.now += 3.0
        task.advance()
    assert printed[0] == "train: 22/100 steps, 3.0 s/step, 3 min 54 s left"
    assert printed[1] == "train: 32/100 steps, 3.0 s/step, 3 min 24 s left"
    assert len(printed) == 8


def test_a_slow_task_still_reports(clock):
    printed: list[str] = []
    task = progress.LineTask(printed.append, "train", 100_000, "step", done=0, clock=clock)
    clock.now = 31.0
    task.advance()
    assert printed == ["train: 1/100,000 steps, 31.0 s/step, 861 h 6 min left"]


def test_the_pace_forgets_old_rates(clock):
    pace = progress.Pace(clock)
    assert pace.rate == 0
    for _ in range(100):
        clock.now += 0.1
        pace.advance(1)
    assert pace.rate == pytest.approx(10)
    for _ in range(30):
        clock.now += 4.0
        pace.advance(1)
    assert pace.rate == pytest.approx(0.25, rel=0.25)  # the mean of all would be 1


def test_the_pace_weighs_the_first_units_in_full(clock):
    pace = progress.Pace(clock)
    clock.now = 2.0
    pace.advance(6)
    assert pace.rate == pytest.approx(3)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.4, "0 s"), (59.6, "1 min 0 s"), (185, "3 min 5 s"), (7440, "2 h 4 min")],
)
def test_durations(seconds, text):
    assert progress.format_seconds(seconds) == text


@pytest.mark.parametrize(
    ("rate", "text"), [(1234.5, "1,234 its/s"), (3.21, "3.2 its/s"), (0.25, "4.0 s/it")]
)
def test_rates(rate, text):
    assert progress.format_rate(rate, "it") == text

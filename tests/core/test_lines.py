"""Progress as plain lines: few enough for a log, often enough to see that it lives."""

from __future__ import annotations

import pytest

from pipelines.core import lines


def test_without_a_console_they_go_to_stderr(capsys):
    progress = lines.LineProgress()
    progress.message("a recipe begins")
    with progress.task("train", 4, "step", done=1) as advance:
        advance(3, "loss 0.5")
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("a recipe begins\ntrain: 4/4 steps, ")
    assert err.endswith(", loss 0.5\n")


def test_plain_lines_come_at_most_every_tenth(capsys, monkeypatch):
    now = 0.0
    monkeypatch.setattr(lines.time, "monotonic", lambda: now)
    task = lines.LineTask(lines.to_stderr, "train", 100, "step", done=20)
    for _ in range(80):
        now += 3.0
        task.advance()
    printed = capsys.readouterr().err.splitlines()
    assert printed[0] == "train: 30/100 steps, 3.0 s/step, 3 min 30 s left"
    assert len(printed) == 8


def test_a_slow_task_still_reports(capsys, monkeypatch):
    now = 0.0
    monkeypatch.setattr(lines.time, "monotonic", lambda: now)
    task = lines.LineTask(lines.to_stderr, "train", 100_000, "step", done=0)
    now = 31.0
    task.advance()
    assert capsys.readouterr().err == "train: 1/100,000 steps, 31.0 s/step, 861 h 6 min left\n"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.4, "0 s"), (59.6, "1 min 0 s"), (185, "3 min 5 s"), (7440, "2 h 4 min")],
)
def test_durations(seconds, text):
    assert lines.format_seconds(seconds) == text


@pytest.mark.parametrize(
    ("rate", "text"), [(1234.5, "1,234 its/s"), (3.21, "3.2 its/s"), (0.25, "4.0 s/it")]
)
def test_rates(rate, text):
    assert lines.format_rate(rate, "it") == text

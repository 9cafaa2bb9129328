"""The console: what goes where, and how progress and errors read."""

from __future__ import annotations

import io
import json
from dataclasses import dataclass
from pathlib import Path

import pytest
from rich.console import Console

from kaleido_cli import console
from pipelines.core.errors import KaleidoError


@dataclass
class Result:
    path: Path
    loss: float
    pairs: list[tuple[str, int]]


def test_json_is_one_object_of_plain_values(capsys):
    result = Result(Path("a/b"), float("nan"), [("ü", 1)])
    console.show(result, as_json=True, render=lambda result: pytest.fail("rendered"))
    out, err = capsys.readouterr()
    assert json.loads(out) == {"path": "a/b", "loss": None, "pairs": [["ü", 1]]}
    assert err == ""


def test_an_error_reads_what_why_hint(capsys):
    console.show_error(KaleidoError("data [x]", "it is [bold]gone[/bold].", "Run `kaleido data`."))
    out, err = capsys.readouterr()
    assert out == ""
    assert err == "Error: data [x]: it is [bold]gone[/bold].\nRun `kaleido data`.\n"


def test_control_characters_do_not_reach_the_terminal(capsys):
    console.line("a\x1b[31mb\x07c\udcffd")
    assert capsys.readouterr().out == "a\ufffd[31mb\ufffdc\ufffdd\n"


def test_a_table_keeps_markup_as_text(capsys):
    console.table([("[red]x[/red]", 1), ("y", 10_000)], ("caption", "count"))
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["caption", "count"]
    assert lines[1].split() == ["[red]x[/red]", "1"]
    assert lines[1].endswith("    1")


def test_plain_progress_is_on_stderr_and_ends_with_a_line(capsys):
    with console.ConsoleProgress().task("extract boxes", 10, "record") as advance:
        for _ in range(10):
            advance(1, "loss 0.5")
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("extract boxes: 10/10 records, ")
    assert err.endswith("loss 0.5\n")
    assert err.count("\n") == 1


def test_progress_lines_end_also_when_work_fails(capsys):
    with pytest.raises(ValueError), console.ConsoleProgress().task("work", 3) as advance:
        advance()
        raise ValueError
    assert "work" not in capsys.readouterr().err


def test_bars_show_rate_count_and_time_left(monkeypatch):
    file = io.StringIO()
    screen = Console(file=file, force_terminal=True, width=120, color_system=None)
    monkeypatch.setattr(console, "console", lambda stderr: screen)
    with console.ConsoleProgress().task("train prior", 200, "step", done=100) as advance:
        for _ in range(50):
            advance(1, "loss 1.25")
    shown = file.getvalue()
    for part in ("train prior", "150/200", "steps/s", "0 s left", "loss 1.25", "0:00:00"):
        assert part in shown


def test_nested_bars_share_one_display(monkeypatch):
    file = io.StringIO()
    screen = Console(file=file, force_terminal=True, width=120, color_system=None)
    monkeypatch.setattr(console, "console", lambda stderr: screen)
    progress = console.ConsoleProgress()
    with progress.task("outer", 2) as outer:
        with progress.task("inner", 3) as inner:
            inner(3)
            progress.message("between")
        outer(2)
    with progress.task("later", None) as later:
        later(5, "note")
    shown = file.getvalue()
    for part in ("outer", "3/3", "between", "later", "note"):
        assert part in shown

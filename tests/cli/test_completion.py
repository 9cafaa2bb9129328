"""Shell completion offers values, in real completion requests."""

from __future__ import annotations

import pytest
from typer.testing import CliRunner

from kaleido_cli.app import app
from kaleido_cli.completion import complete_kinds


def complete(line: str) -> list[str]:
    """Ask as a bash shell asks."""
    words = line.split(" ")
    environment = {
        "_KALEIDO_COMPLETE": "complete_bash",
        "COMP_WORDS": line,
        "COMP_CWORD": str(len(words) - 1),
    }
    result = CliRunner(env=environment).invoke(app, [], prog_name="kaleido")
    return result.stdout.split()


@pytest.mark.parametrize(
    ("line", "values"),
    [
        ("kaleido sample --z bo", ["boxes"]),
        ("kaleido train prior --z boxes,pa", ["boxes,palette"]),
        ("kaleido train prior --precision b", ["bf16"]),
        ("kaleido evaluate --models ka", ["kaleido"]),
        ("kaleido evaluate --models kaleido,", ["kaleido,baseline"]),
        ("kaleido evaluate --name fi", ["first"]),
        ("kaleido sample --name fi", ["fifty"]),
        ("kaleido sam", ["sample"]),
    ],
)
def test_values_are_completed(workspace, monkeypatch, line, values):
    monkeypatch.chdir(workspace.root)
    workspace.reports("first").mkdir(parents=True)
    workspace.samples("fifty").mkdir(parents=True)
    assert complete(line) == values


def test_kinds_that_are_there_are_not_offered_again():
    assert "boxes,boxes" not in complete_kinds("boxes,b")
    assert complete_kinds("boxes,bl") == ["boxes,blobs"]


def test_names_outside_of_a_workspace_are_none(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert complete("kaleido evaluate --name x") == []

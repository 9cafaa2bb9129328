"""A newcomer's first minutes: where to begin, what comes next, what is missing."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from kaleido_cli import app, captions, training
from kaleido_cli.next_step import next_step
from pipelines.core.errors import KaleidoError
from pipelines.extract.run import extract
from pipelines.models.metadata import write_metadata
from pipelines.scenes.captions import unknown_words
from pipelines.workspace.config import override
from pipelines.workspace.workspace import Workspace

ROOT = Path(__file__).parents[2]


@pytest.fixture
def inside(workspace, monkeypatch) -> Workspace:
    """An empty workspace that is the current folder."""
    monkeypatch.chdir(workspace.root)
    return workspace


def test_the_bare_program_lists_commands_and_where_to_begin(invoke):
    out, err = invoke()
    assert err == ""
    for part in (*app.COMMANDS, "kaleido demo", "kaleido init", "kaleido sample"):
        assert part in out


@pytest.mark.parametrize("group", ["data", "extract", "train", "z"])
def test_a_bare_group_lists_its_commands(group, invoke):
    out, err = invoke(group, code=2)
    for name in app.load(group).commands:
        assert name in out + err


@pytest.mark.parametrize(
    ("word", "command"),
    [("generate", "sample"), ("predict", "sample"), ("help", "--help"), ("prior", "train prior")],
)
def test_commands_of_other_tools_get_the_right_one(word, command, invoke):
    _, err = invoke(word, "x", code=2)
    assert f"Did you mean `kaleido {command}`?" in err


@pytest.mark.parametrize(
    ("words", "offer"),
    [
        ("data foldr", "'folder'"),
        ("extract box", "'boxes'"),
        ("train piror", "'prior'"),
        ("z conver", "'convert'"),
        ("data import", "Did you mean `kaleido data folder`?"),
        ("extract captions", "'descriptions'"),
        ("train draw", "Known: tokenizer, prior, diffusion"),
        ("extract xyz", "Known: descriptions, boxes"),
    ],
)
def test_no_subcommand_is_refused_without_an_offer(words, offer, invoke):
    _, err = invoke(*words.split(), code=2)
    assert offer in err.replace("\n", " ")


def test_every_suggestion_is_a_command():
    for suggestion in app.ELSEWHERE.values():
        name, *rest = suggestion.split()
        assert suggestion.startswith("--") or name in app.COMMANDS
        for subcommand in rest:
            assert subcommand in app.load(name).commands
    assert not set(app.ELSEWHERE) & set(app.COMMANDS)


def test_the_next_step_follows_the_workspace(workspace, write_data, records):
    steps = [next_step(workspace)]
    write_data(records, 10)
    steps.append(next_step(workspace))
    extract(workspace, ("palette",))
    steps.append(next_step(workspace))
    for name in ("prior", "diffusion"):
        write_metadata(workspace.models(name), {})
        steps.append(next_step(workspace))
    workspace.samples("x").mkdir(parents=True)
    steps.append(next_step(workspace))
    write_metadata(workspace.models("baseline"), {})
    steps.append(next_step(workspace))
    expected = (
        "kaleido data folder",
        "kaleido extract palette",
        "kaleido train prior`",
        "kaleido train diffusion`",
        "kaleido sample",
        "kaleido train diffusion --baseline",
        "kaleido evaluate --features",
    )
    for step, part in zip(steps, expected, strict=True):
        assert part in step


def test_a_hint_is_a_sentence_after_the_command(workspace):
    step = next_step(workspace)
    assert step.startswith("`kaleido data folder PATH`. PATH is")
    assert step.endswith(".")


@pytest.mark.parametrize("page", ["README.md", "docs/tutorials/own-images.md"])
def test_pages_train_only_with_the_kinds_that_they_extract(page):
    text = (ROOT / page).read_text("utf-8")
    extracted = set(re.findall(r"kaleido extract (\w+)", text))
    lines = re.findall(r"kaleido train (?:prior|diffusion).*", text)
    assert extracted and lines
    for line in lines:
        kinds = re.search(r"--z (\S+)", line)
        assert kinds is None or set(kinds[1].split(",")) <= extracted, line


@pytest.mark.parametrize("command", [("data", "check"), ("data", "show"), ("extract", "palette")])
def test_commands_without_data_name_the_command_for_own_pictures(inside, invoke, command):
    _, err = invoke(*command, code=1)
    assert "kaleido data folder PICTURES" in err.replace("\n", " ")


def test_the_next_step_of_scenes_needs_no_flags(inside, invoke):
    _, err = invoke("data", "scenes", "--n", "2")
    assert err.endswith("Next: `kaleido extract all`\n")
    _, err = invoke("status")
    assert err == "Next: `kaleido extract all`\n"
    _, err = invoke("status", "--json")
    assert err == ""


def test_init_names_the_next_step(tmp_path, invoke):
    _, err = invoke("init", str(tmp_path / "ws"))
    assert f"Next: `cd {tmp_path / 'ws'}`, then `kaleido data folder" in err


@pytest.mark.parametrize("path", ["s3://bucket/ws", "gs://b", "https://host/x", "hf://datasets/x"])
def test_remote_addresses_are_refused(path, tmp_path, monkeypatch, invoke):
    monkeypatch.chdir(tmp_path)
    for arguments in (("init", path), ("status", "--workspace", path), ("demo", path)):
        _, err = invoke(*arguments, code=1)
        assert "addresses are not supported" in err
    assert list(tmp_path.iterdir()) == []


NO_HEAVY = """
import sys
sys.modules.update(dict.fromkeys(("torch", "transformers", "diffusers", "accelerate")))
from kaleido_cli.__main__ import main
sys.argv = ["kaleido", *sys.argv[1:]]
main()
"""
"""Starts the program where an import of a heavy package fails."""


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("evaluate", "--models", "foo"), "model 'foo'"),
        (("evaluate", "--models", "../other"), "model '../other'"),
        (("evaluate", "--models", "baseline"), "kaleido train diffusion --baseline"),
        (("train", "diffusion"), "kaleido train prior"),
        (("train", "prior", "--z", "boxes"), "latents boxes"),
        (("train", "prior", "--restart"), "Add --yes"),
        (("sample", "a star", "--name", "taken"), "it exists already"),
        (("sample", "a star", "--out", "samples"), "it exists already"),
        (("sample", "a star"), "kaleido train diffusion"),
        (("sample", "a star", "--baseline"), "kaleido train diffusion --baseline"),
        (("sample", "--from-z", "nowhere.jsonl"), "nowhere.jsonl"),
        (("edit", "taken/9", "--remove", "star"), "taken/9"),
    ],
    ids=lambda value: value if isinstance(value, str) else " ".join(value),
)
def test_mistakes_are_noticed_before_heavy_imports(inside, write_data, records, arguments, message):
    write_data(records, 10)
    extract(inside, ("palette",))
    (inside.samples("taken") / "x").mkdir(parents=True)
    if arguments[:2] != ("train", "diffusion"):
        write_metadata(inside.models("prior"), {})
    (inside.root / "kaleido.toml").write_text(
        '[prior]\nz_kinds = ["palette"]\n[diffusion]\nz_kinds = ["palette"]\n'
    )
    done = subprocess.run(
        [sys.executable, "-c", NO_HEAVY, *arguments],
        capture_output=True,
        text=True,
        cwd=inside.root,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        timeout=60,
        stdin=subprocess.DEVNULL,
    )
    assert done.returncode == 1, done.stderr
    assert message in done.stderr


def test_restart_of_a_finished_model_asks(inside, monkeypatch, capsys):
    write_metadata(inside.models("prior"), {})
    training.confirm(inside, "prior", restart=False, yes=False)
    training.confirm(inside, "prior", restart=True, yes=True)
    training.confirm(inside, "diffusion", restart=True, yes=False)
    monkeypatch.setattr(training.sys, "stdin", SimpleTerminal())
    asked = []
    monkeypatch.setattr(training.typer, "confirm", lambda text, **_: asked.append(text))
    training.confirm(inside, "prior", restart=True, yes=False)
    assert str(inside.models("prior")) in asked[0]


class SimpleTerminal:
    """Standard input that is a terminal."""

    def isatty(self) -> bool:
        return True


def test_sampling_needs_no_workspace(tmp_path, monkeypatch, invoke):
    monkeypatch.chdir(tmp_path)
    options = ("--n", "1", "--steps", "1", "--cfg", "1")
    out, err = invoke("sample", "a red apple", *options, "--name", "apple", "--json")
    assert json.loads(out)["source"] == "embedded"
    assert "do not know the words apple:" in err
    assert (tmp_path / "samples" / "apple" / "0000-0000.png").is_file()
    out, err = invoke("sample", "a star", *options, "--out", str(tmp_path / "there"))
    assert "do not know" not in err and "Next: `kaleido edit" in err
    assert (tmp_path / "there" / "sheet.png").is_file()
    _, err = invoke("sample", "--name", "x", code=1)
    assert "Give a caption" in err
    _, err = invoke("sample", "a star", "--workspace", str(tmp_path), code=1)
    assert "kaleido init" in err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["samples", "there"]


def test_words_of_scenes_are_known():
    for caption in ("Two circles and a star", "a picture of an orange heart on a page", "3 ovals"):
        assert unknown_words(caption) == []
    assert unknown_words("A dog, a DOG and Äpfel") == ["dog", "äpfel"]


def test_many_unknown_words_are_cut(workspace, capsys):
    many = ["one cat", " ".join(f"word{letter}" for letter in "abcdefghijk")]
    captions.warn_of_unknown_words(workspace, many)
    err = capsys.readouterr().err
    assert "cat, worda" in err
    assert "and others" in err
    captions.warn_of_unknown_words(workspace, ["a circle"])
    write_metadata(workspace.models("prior"), {})
    captions.warn_of_unknown_words(workspace, ["one cat"])
    assert capsys.readouterr().err == ""


def test_settings_of_flags_hold_outside_of_a_workspace(tmp_path, monkeypatch, invoke):
    monkeypatch.chdir(tmp_path)
    _, err = invoke("sample", "a star", "--n", "0", code=1)
    assert "sample.n" in err
    with pytest.raises(KaleidoError):
        override(Workspace.init(tmp_path / "w").settings, {"sample.n": 0})

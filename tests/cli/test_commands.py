"""The commands, driven as a user drives them."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from kaleido_cli import app
from kaleido_cli.extract import COMMANDS, _masks
from kaleido_cli.flags import setting_of
from kaleido_cli.training import render
from pipelines.core.errors import KaleidoError
from pipelines.embedded import paths
from pipelines.workspace.settings import SETTINGS, Settings
from pipelines.workspace.shards import read_records
from pipelines.workspace.workspace import Workspace

ROOT = Path(__file__).parents[2]


@pytest.fixture
def inside(workspace, monkeypatch) -> Workspace:
    """An empty workspace that is the current folder."""
    monkeypatch.chdir(workspace.root)
    return workspace


def test_init_makes_a_workspace_once(tmp_path, invoke):
    out, _ = invoke("init", str(tmp_path / "ws"), "--json")
    assert json.loads(out) == {"workspace": str(tmp_path / "ws")}
    assert (tmp_path / "ws" / "kaleido.toml").is_file()
    out, err = invoke("init", str(tmp_path / "ws"), code=1)
    assert out == ""
    assert "is a workspace already" in err
    assert "Traceback" not in err


def test_outside_of_a_workspace_the_error_names_init(tmp_path, monkeypatch, invoke):
    monkeypatch.chdir(tmp_path)
    _, err = invoke("status", code=1)
    assert "kaleido init" in err


def test_verbose_shows_the_traceback(tmp_path, monkeypatch, invoke):
    monkeypatch.chdir(tmp_path)
    _, err = invoke("--verbose", "status", code=1)
    assert "Traceback" in err
    monkeypatch.setenv("KALEIDO_DEBUG", "1")
    _, err = invoke("status", code=1)
    assert "Traceback" in err


def test_scenes_then_status(inside, invoke):
    out, err = invoke(
        "data", "scenes", "--n", "6", "--seed", "1", "--shard-size", "4", "--size", "32", "--json"
    )
    assert json.loads(out) == {
        "shards": 2,
        "skipped": 0,
        "ok": 6,
        "filtered": 0,
        "failed": 0,
        "failures": [],
        "fit": {"pictures": 0, "reshaped": 0, "share": 0.0, "reduced": 0},
        "places": 0,
    }
    assert "scenes: 6/6 records" in err
    out, _ = invoke("status", "--json")
    found = json.loads(out)
    assert found["workspace"] == str(inside.root)
    assert (found["data"]["shards"], found["data"]["ok"]) == (2, 6)
    out, _ = invoke("status")
    assert out.splitlines()[2].split() == ["data", "2", "6", "0", "0", "0", "0"]


def test_status_tells_of_training_that_was_stopped(workspace, invoke, monkeypatch):
    monkeypatch.chdir(workspace.root)
    folder = workspace.logs / "baseline" / "checkpoint"
    folder.mkdir(parents=True)
    (folder / "state.json").write_text('{"step": 2322, "steps": 4000}')
    out, _ = invoke("status")
    assert "baseline" in out and "2,322" in out and "4,000" in out


def test_the_workspace_can_be_named(workspace, tmp_path, monkeypatch, invoke):
    monkeypatch.chdir(tmp_path)
    out, _ = invoke("data", "scenes", "-n", "2", "-w", str(workspace.root))
    assert out == "scenes: 2 ok, 0 filtered, 0 failed in 1 shards (0 were up to date)\n"


@pytest.mark.parametrize(
    "arguments",
    [
        ("data", "scenes", "--n", "0"),
        ("data", "scenes", "--n", "many"),
        ("sample", "a circle", "--guidance", "3"),
        ("sample", "a circle", "a square"),
        ("sample", "a circle", "--captions", "file.txt"),
        ("sample", "a circle", "--steps", "many"),
        ("sample", "a circle", "--set", "sample.steps"),
        ("evaluate", "--sweep", "steps=10,20"),
        ("evaluate", "--cfg", "many"),
    ],
    ids=" ".join,
)
def test_options_are_parsed_strictly(inside, arguments, invoke):
    out, err = invoke(*arguments, code=2)
    assert out == ""
    assert "Usage: kaleido" in err


@pytest.mark.parametrize(
    ("arguments", "setting", "allowed"),
    [
        (
            ("data", "scenes", "--size", "4"),
            "data.image_size",
            "a whole number from 8 to 4096, or 0",
        ),
        (("data", "scenes", "--shard-size", "0"), "data.shard_size", "a whole number above 0"),
        (("data", "folder", ".", "--shard-size", "0"), "data.shard_size", "a whole number above 0"),
        (("train", "prior", "--steps", "0"), "prior.steps", "a whole number above 0"),
        (
            ("train", "diffusion", "--learning-rate", "-1"),
            "diffusion.learning_rate",
            "a number above 0",
        ),
        (("evaluate", "--steps", "0"), "evaluate.steps", "a whole number above 0"),
        (("evaluate", "--n", "1"), "evaluate.n", "a whole number from 2 up"),
        (("status", "--set", "evaluate.n=1"), "evaluate.n", "a whole number from 2 up"),
        (("extract", "all", "--workers", "0"), "extract.workers", "a whole number above 0"),
        (("sample", "a star", "--n", "0"), "sample.n", "a whole number above 0"),
        (("sample", "a star", "--cfg", "-0.5"), "sample.cfg", "a number from 0 up"),
        (("sample", "a star", "--cfg-end", "1.5"), "sample.cfg_end", "a number from 0 to 1"),
        (("sample", "a star", "--steps", "0"), "sample.steps", "a whole number above 0"),
        (("sample", "a star", "--batch-size", "0"), "sample.batch_size", "a whole number above 0"),
        (("sample", "a star", "--temperature", "0"), "sample.temperature", "a number above 0"),
        (("sample", "a star", "--top-p", "0"), "sample.top_p", "a number above 0, at most 1"),
        (("sample", "a star", "--top-p", "1.5"), "sample.top_p", "a number above 0, at most 1"),
    ],
)
def test_a_flag_obeys_the_range_of_its_setting(inside, arguments, setting, allowed, invoke):
    out, err = invoke(*arguments, code=1)
    assert out == ""
    assert f"setting '{setting}' in the command line: " in err
    assert f"Give {allowed}." in err
    assert sorted(path.name for path in inside.root.iterdir()) == ["kaleido.toml"]


@pytest.mark.parametrize("flag", [("--workers", "2"), ("--retry-failed",)], ids=" ".join)
def test_a_preview_takes_no_flags_of_a_run(inside, flag, invoke):
    _, err = invoke("extract", "boxes", "--preview", "2", *flag, code=1)
    assert f"--preview and {flag[0]}: " in err


def test_flags_of_data_override_settings(inside, invoke):
    invoke("data", "scenes", "--n", "3", "--size", "16", "--seed", "5", "--shard-size", "2")
    first, second = inside.data_shards()
    records = [*read_records(first), *read_records(second)]
    assert [record.key for record in records] == [f"scene-5-{index:07d}" for index in range(3)]
    assert records[0].pixels.shape == (16, 16, 3)


def test_failed_records_are_listed_and_tried_again(inside, tmp_path, invoke):
    folder = tmp_path / "pictures"
    folder.mkdir()
    (folder / "broken.png").write_bytes(b"no image")
    (folder / "broken.txt").write_text("a star")
    invoke("data", "scenes", "--n", "4", "--size", "32")
    out, _ = invoke("status", "--failed")
    assert out == "No record failed.\n"
    invoke("data", "folder", str(folder), "--overwrite", code=3)
    out, _ = invoke("status", "--failed")
    assert out.startswith("data broken: broken.png: ")
    out, _ = invoke("status", "--failed", "--json")
    assert [row["key"] for row in json.loads(out)["data"]] == ["broken"]


def test_extract_retries_failed_records_on_request(inside, write_data, records, invoke):
    write_data([records[0], replace(records[1], image=records[1].image[:60])], 2)
    invoke("extract", "palette")
    out, _ = invoke("status", "--failed", "--json")
    assert {kind: [row["key"] for row in rows] for kind, rows in json.loads(out).items()} == {
        "data": [],
        "palette": ["r001"],
    }
    kept = (inside.latents("palette") / "000000.tar").read_bytes()
    for flags, skipped in ((), 1), (("--retry-failed",), 0):
        out, _ = invoke("extract", "palette", *flags, "--json")
        found = json.loads(out)["palette"]
        assert (found["ok"], found["failed"], found["skipped"]) == (1, 1, skipped)
    assert (inside.latents("palette") / "000000.tar").read_bytes() == kept


def test_config_says_where_a_setting_comes_from(inside, invoke):
    text = (inside.root / "kaleido.toml").read_text()
    (inside.root / "kaleido.toml").write_text(text.replace("cfg = 7.5", "cfg = 3.0"))
    out, _ = invoke("config", "--json")
    settings = json.loads(out)
    assert settings["sample.cfg"] == {"value": 3.0, "source": "kaleido.toml"}
    assert settings["sample.n"] == {"value": 16, "source": "default"}
    assert settings["prior.z_kinds"]["value"] == list(Settings().prior.z_kinds)
    out, _ = invoke("config", "--set", "sample.n=2", "--json")
    assert json.loads(out)["sample.n"] == {"value": 2, "source": "command line"}
    out, _ = invoke("config")
    assert ["sample.cfg", "3.0", "kaleido.toml"] in [line.split() for line in out.splitlines()]


def leaves() -> list[tuple[str, Any]]:
    """Every command with its words, those of groups too."""
    found = []
    for name in app.COMMANDS:
        command = app.load(name)
        for subcommand, leaf in (getattr(command, "commands", {}) or {"": command}).items():
            found.append((f"{name} {subcommand}".strip(), leaf))
    return found


def test_every_setting_has_a_flag_of_its_name():
    flags: dict[str, set[str]] = {}
    for _, command in leaves():
        for param in command.params:
            if (item := setting_of(param)) is not None:
                flags.setdefault(item.name, set()).update(param.opts)
    for name, item in SETTINGS.items():
        assert f"--{item.key.replace('_', '-')}" in flags[name]
        assert not item.declared.alias or item.declared.alias in flags[name]


def test_every_command_that_opens_a_workspace_takes_set():
    for name, command in leaves():
        names = {param.name for param in command.params}
        assert ("set" in names) == ("workspace" in names or name in ("init", "demo")), name


def test_set_overrides_any_setting_and_a_flag_wins(inside, invoke):
    given = ("--set", "data.image_size=16", "--set", "data.shard_size=2", "--shard-size", "3")
    for order in (given, (*given[4:], *given[:4])):
        invoke("data", "scenes", "--n", "3", *order, "--overwrite")
        [shard] = inside.data_shards()
        assert {record.pixels.shape for record in read_records(shard)} == {(16, 16, 3)}


@pytest.mark.parametrize(
    ("text", "hint"), [("prior.stepz=1", "'steps'"), ("pryor.steps=1", "'prior'"), ("n=1", "Known")]
)
def test_set_names_the_nearest_setting(inside, text, hint, invoke):
    _, err = invoke("config", "--set", text, code=1)
    assert hint in err


def test_init_writes_what_set_says(tmp_path, invoke):
    invoke("init", str(tmp_path / "ws"), "--set", "prior.z_kinds=palette", "--set", "sample.n=3")
    settings = Workspace.find(explicit=tmp_path / "ws").settings
    assert (settings.prior.z_kinds, settings.sample.n) == (("palette",), 3)


def test_a_model_on_the_command_line_wins_over_masks_of_the_settings(inside, invoke):
    with pytest.raises(KaleidoError) as caught:
        _masks({"extract.blobs_model": "m", "extract.blobs_masks": "folder"})
    assert caught.value.code == "bad-option"
    assert _masks({"extract.blobs_model": "m"}) == {"extract.blobs_masks": ""}
    assert _masks({"extract.blobs_masks": "folder"}) == {}


def test_a_wrong_setting_is_an_error(inside, invoke):
    (inside.root / "kaleido.toml").write_text("[sample]\ncgf = 3\n")
    _, err = invoke("config", code=1)
    assert "Did you mean 'cfg'?" in err


def test_doctor_names_packages_and_models(invoke):
    out, _ = invoke("doctor", "--json")
    found = json.loads(out)
    assert found["system"]["python"] == sys.version.split()[0]
    versions = {name: version for name, version, _ in found["packages"]}
    assert versions["torch"]
    assert set(found["embedded"]) == {path.parent.name for path in paths.ROOT.glob("*/README.md")}
    assert set(found["embedded"].values()) == {"present"}
    out, _ = invoke("doctor")
    assert "torch" in out


@pytest.mark.parametrize("command", ["boxes", "blobs", "palette", "all"])
def test_extract_without_data_names_the_command_that_makes_them(inside, command, invoke):
    out, err = invoke("extract", command, code=1)
    assert out == ""
    assert "kaleido data" in err


def test_extract_palette_then_skip(inside, invoke):
    invoke("data", "scenes", "--n", "4", "--size", "32")
    out, _ = invoke("extract", "palette", "--json")
    found = json.loads(out)
    assert set(found) == {"palette"}
    assert (found["palette"]["ok"], found["palette"]["skipped"]) == (4, 0)
    out, _ = invoke("extract", "palette")
    assert out == "palette: 4 ok, 0 filtered, 0 failed in 1 shards (1 were up to date)\n"


@pytest.mark.parametrize("command", ["prior", "diffusion"])
def test_train_without_input_names_the_command_that_makes_it(inside, command, invoke):
    out, err = invoke("train", command, "--steps", "1", code=1)
    assert out == ""
    assert "kaleido " in err


@pytest.mark.gpu
def test_doctor_names_the_gpu(invoke):
    import torch

    out, _ = invoke("doctor", "--json")
    assert torch.cuda.get_device_name(0) in json.loads(out)["system"]["devices"].split(", ")


def test_a_finished_training_says_so(capsys):
    render("prior", SimpleNamespace(steps=12, images_seen=96, loss=math.nan, resumed_at=12))
    assert capsys.readouterr().out == (
        "prior: 12 steps, 96 records seen, finished already at step 12\n"
    )


def test_train_refuses_an_unknown_kind(inside, invoke):
    _, err = invoke("train", "prior", "--z", "bocks", code=1)
    assert "boxes" in err


def test_sample_without_caption_and_data_says_so(inside, invoke):
    _, err = invoke("sample", code=1)
    assert 'kaleido sample "' in err


def pipe(given: str | bytes | None, *arguments: str, cwd: Path) -> subprocess.CompletedProcess:
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, "-m", "kaleido_cli", "sample", *arguments],
        input=given.encode() if isinstance(given, str) else given,
        capture_output=True,
        env=environment,
        cwd=cwd,
        timeout=120,
    )


@pytest.mark.parametrize(
    ("given", "arguments", "message"),
    [
        (b"caf\xe9\n", (), "line 1 of standard input: the caption is not UTF-8"),
        ("x" * 3000, (), "the limit is 2,000"),
        ("", ("--captions", "-"), "standard input: it holds no captions"),
        ("\n\n", ("--captions", "-"), "it holds no captions"),
        (None, ("--captions", "none.txt"), "none.txt: there is no such file"),
        (None, ("",), "caption: the caption is empty"),
    ],
)
def test_captions_that_cannot_be_used_are_named(inside, given, arguments, message):
    done = pipe(given, *arguments, cwd=inside.root)
    assert done.returncode == 1
    assert message in done.stderr.decode()
    assert b"Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("given", "piped"), [(b"a red circle\n", True), (b"", False), (None, False)]
)
def test_a_pipe_counts_only_if_something_is_in_it(given, piped):
    """A program that starts us may leave us a pipe into which nobody ever writes."""
    read_end, write_end = os.pipe()
    try:
        if given is not None:
            os.write(write_end, given)
            os.close(write_end)
        done = subprocess.run(
            [sys.executable, "-c", "from kaleido_cli.captions import is_piped; print(is_piped())"],
            stdin=read_end,
            capture_output=True,
            text=True,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
            timeout=60,
        )
    finally:
        os.close(read_end)
        if given is None:
            os.close(write_end)
    assert done.stdout == f"{piped}\n", done.stderr
    assert ("--captions -" in done.stderr) == (given is None)


def test_captions_from_a_slow_pipe_are_waited_for_when_asked(inside):
    """Its first byte comes later than a pipe that nobody named would be waited for."""
    writer = subprocess.Popen(
        [sys.executable, "-c", "import time; time.sleep(2); print('x' * 3000)"],
        stdout=subprocess.PIPE,
    )
    assert writer.stdout is not None
    with writer, writer.stdout:
        done = subprocess.run(
            [sys.executable, "-m", "kaleido_cli", "sample", "--captions", "-"],
            stdin=writer.stdout,
            capture_output=True,
            text=True,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
            cwd=inside.root,
            timeout=120,
        )
    assert "line 1 of standard input: the caption has 3,000 characters" in done.stderr


def test_the_toy_takes_no_options_of_an_evaluation(inside, invoke):
    for option in (("--n", "4"), ("--embedded",), ("--models", "kaleido")):
        _, err = invoke("evaluate", "--toy", *option, code=2)
        assert "--toy can only be combined with --workspace and --json" in err
    out, _ = invoke("evaluate", "--toy")
    assert (inside.reports("toy") / "index.html").is_file()
    assert "entropy.mode" in out


@pytest.mark.parametrize("kind", [*COMMANDS, "plugin"])
def test_every_extraction_takes_the_common_options(kind, invoke):
    out, _ = invoke("extract", kind, "--help")
    common = ["--workers", "--retry-failed", "--dry-run"]
    if kind == "plugin" or COMMANDS[kind].drawn:
        common.append("--preview")
    assert [option for option in common if option not in out] == []


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--name", "a", "--out", "b"), "--name excludes --out"),
        (("--baseline", "--diverse", "4"), "--baseline excludes --diverse"),
        (("--from-z", "-", "--require", "star", "--z", "boxes"), "excludes --z, --require"),
        (("--base", "x", "--verify", "2"), "--base excludes --verify"),
        (("--planner", "x"), "--planner needs --base"),
    ],
)
def test_flags_that_exclude_each_other_are_named(inside, invoke, flags, message):
    _, err = invoke("sample", "a star", *flags, code=2)
    assert message in " ".join(err.replace("│", " ").split())

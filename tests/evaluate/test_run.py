import json
import os
import shutil
import subprocess
import sys
import time
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image

from pipelines.core.errors import InputMissing, KaleidoError
from pipelines.core.progress import Progress
from pipelines.data.folder import write_folder
from pipelines.embedded.paths import embedded_path
from pipelines.evaluate.run import evaluate as run
from pipelines.models.diffusion import Diffusion
from pipelines.models.metadata import tokenizer_metadata
from pipelines.protocols import choose_protocol
from pipelines.scenes.generate import write_scenes
from pipelines.scenes.heldout import fresh_captions
from pipelines.workspace.config import override
from tests.conftest import Told

CAPTIONS = ("a star", "two circles")
SMALL = {"n": 3, "steps": 2, "cfg": (1.0, 7.5), "seeds": (0, 1), "captions": 2}


def evaluate(workspace, captions=None, embedded=False, **options):
    """Evaluate with the protocol that the command line would choose."""
    choice = choose_protocol(workspace, embedded, captions)
    return run(workspace, choice, embedded=embedded, **options)


def small(workspace, **changes):
    """The workspace with settings for a short evaluation."""
    settings = {f"evaluate.{name}": value for name, value in (SMALL | changes).items()}
    return replace(workspace, settings=override(workspace.settings, settings))


def content(summary):
    return json.loads(summary.json.read_text("utf-8"))


def test_untrained_models_give_a_void_report_with_every_row(trained):
    summary = evaluate(small(trained), name="first", captions=CAPTIONS)
    assert summary.void.startswith("parity at CFG 1 could not be measured (Baseline: colour")
    assert "No verdict: parity at CFG 1" in summary.report.read_text("utf-8")
    found = content(summary)
    assert found["void"] == summary.void
    rows = found["rows"]
    assert {(row["model"], row["cfg"]) for row in rows} == {
        *(("data", None), ("baseline", 1.0), ("baseline", 7.5), ("kaleido", 1.0)),
        *(("window", 7.5), ("kaleido", 7.5), ("given", 7.5)),
    }
    judge = found["features"]
    for row in rows:
        assert row["n_per_caption"] == 3 and row["seeds"] == [0, 1]
        assert row["z_kinds"] == (["boxes"] if row["model"] in ("kaleido", "given") else [])
        name, _, space = row["metric"].partition("[")
        spaces = {f"{judge}]", f"{judge}, valid]", "colour-histogram-4x4x4]", "pixels-8x8]"}
        assert name.startswith("z.") or space in spaces
    assert found["ceiling"]["adherence"] > 0.9
    kaleido = {row["metric"]: row for row in rows if (row["model"], row["cfg"]) == ("kaleido", 7.5)}
    named = ("frechet", "precision", "recall", "mss", "vendi", "caption", "boxes")
    named += ("boxes.of_ceiling", "boxes.resampled", "boxes.shuffled", "boxes.missing")
    named += ("boxes.extra", "explained")
    assert {f"{metric}[{judge}]" for metric in named} <= set(kaleido)
    assert {"z.parses", "z.count", "z.shapes", "z.agrees"} <= set(kaleido)
    assert kaleido["z.parses"]["value"] == 1.0
    assert kaleido[f"vendi[{judge}]"]["n"] == 2 * 3 * 2
    # An untrained model draws nothing that the judge would know.
    valid = kaleido[f"vendi[{judge}, valid]"]
    assert (valid["value"], valid["n"], valid["skipped"]) == (None, 0, 4)
    real = next(row for row in rows if row["metric"] == f"vendi[{judge}, valid]")
    assert real["model"] == "data" and real["skipped"] < 4 and real["n"] > 0


@pytest.mark.parametrize("model", ["baseline", "kaleido"])
def test_one_model_alone_is_compared_with_nothing_and_the_report_says_so(trained, model):
    summary = evaluate(small(trained), captions=CAPTIONS, models=[model])
    found = content(summary)
    given = {"given"} if model == "kaleido" else set()  # with z of the data
    assert {row["model"] for row in found["rows"]} == {model, "data"} | given
    assert (summary.void, found["parity"], found["changes"], found["aims"]) == ("", None, [], [])
    assert (
        f"--sweep cfg=1,7.5 --seeds 0,1 --training 2048 --name evaluation --models {model}"
        in found["command"]
    )
    # Two scales and real pictures under two seeds; of Kaleido, second pictures at each scale, and
    # pictures of z of the data at the highest.
    assert summary.cells == (8 if model == "baseline" else 12)
    for path in (summary.report, summary.report.with_name("report.md")):
        text = path.read_text("utf-8")
        assert "Nothing is compared: " in text and "No verdict" not in text and "Aims" not in text
        assert f"What does {model.capitalize()} draw?" in text


def test_a_model_alone_needs_no_other(trained):
    shutil.rmtree(trained.models("baseline"))
    assert evaluate(small(trained), captions=CAPTIONS, models=["kaleido"]).cells == 12


@pytest.mark.parametrize(
    ("models", "named"),
    [
        (["kaleidos"], "model 'kaleidos'"),
        (["kaleido"] * 2, "models"),
        ([""], "model ''"),
    ],
)
def test_models_that_there_are_not_are_named(trained, models, named):
    with pytest.raises(KaleidoError) as caught:
        evaluate(small(trained), captions=CAPTIONS, models=models)
    assert caught.value.what == named


def test_kinds_of_z_can_be_chosen_and_the_report_says_which(trained):
    summary = evaluate(small(trained), captions=CAPTIONS, models=["kaleido"], z_kinds=["boxes"])
    found = content(summary)
    assert {tuple(row["z_kinds"]) for row in found["rows"]} == {("boxes",), ()}
    assert found["command"].endswith("--models kaleido --z boxes")
    named = {row["metric"]: row["value"] for row in found["rows"] if row["model"] == "kaleido"}
    assert named["z.perplexity"] > 1.0 and named["z.writable"] == 1.0
    assert 0.0 <= named["z.calibration.count"] <= 1.0 and "z.calibration.count.floor" in named
    assert "z.calibration.colour" not in named
    with pytest.raises(KaleidoError) as caught:
        evaluate(small(trained), captions=CAPTIONS, models=["baseline"], z_kinds=["boxes"])
    assert caught.value.code == "model-mismatch"
    assert caught.value.what == "--z"


def test_one_caption_gives_rows_without_intervals(trained):
    summary = evaluate(small(trained), captions=["two circles"])
    rows = content(summary)["rows"]
    assert {row["low"] for row in rows} == {row["high"] for row in rows} == {None}
    assert [row for row in rows if row["value"] is not None]
    assert "<small>–</small>" in summary.report.read_text("utf-8")


def test_settings_and_held_out_captions_serve_where_nothing_is_given(trained):
    write_scenes(trained, 60, seed=3, size=16)
    summary = evaluate(small(trained, seeds=(5,)))
    plan = content(summary)["plan"]
    assert len(plan["captions"]) == 2 and plan["n"] == 3 and plan["seeds"] == [5]
    assert summary.report.parent == trained.reports("evaluation")


@pytest.mark.parametrize(
    ("options", "captions", "named"),
    [
        ({}, ["a dog"], "caption 'a dog'"),
        ({}, ["a star", "a star"], "captions"),
        ({"seeds": (1, 1)}, CAPTIONS, "seeds"),
        ({"n": 3, "seeds": (0,)}, ["a star"], "captions, n and seeds"),
    ],
)
def test_wrong_use_is_named_before_any_work(trained, options, captions, named):
    with pytest.raises(KaleidoError) as caught:
        evaluate(small(trained, **options), captions=captions)
    assert caught.value.what == named
    assert not trained.reports("evaluation").exists() and not trained.logs.exists()


def test_without_captions_or_data_it_says_what_to_do(trained):
    with pytest.raises(InputMissing) as caught:
        evaluate(small(trained))
    assert caught.value.what == "captions"
    assert "--embedded" in caught.value.hint


@pytest.mark.parametrize(("baseline", "refused"), [(9, True), (10, False), (20, False)])
def test_a_baseline_that_saw_fewer_images_is_refused(trained, baseline, refused):
    for name, seen in (("baseline", baseline), ("diffusion", 10)):
        path = trained.models(name) / "kaleido.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | {"images_seen": seen}))
    captions = ["a star", "two circles"]
    if refused:
        with pytest.raises(KaleidoError) as caught:
            evaluate(small(trained), captions=captions)
        assert caught.value.what == "the baseline"
        assert "--baseline" in caught.value.hint
    else:
        found = content(evaluate(small(trained), captions=captions))
        seen = {"baseline": baseline, "window": baseline, "kaleido": 10, "given": 10}
        assert found["images_seen"] == seen


def write_pictures(workspace):
    folder = workspace.root.with_name("pictures")
    folder.mkdir()
    Image.new("RGB", (20, 20), "red").save(folder / "one.png")
    (folder / "one.txt").write_text("a red circle")
    write_folder(workspace, folder)


@pytest.mark.parametrize(
    ("write", "what"),
    [
        (lambda ws: write_scenes(ws, 30, seed=3, size=16, hard=True), "data"),
        (write_pictures, "evaluate.features"),
    ],
    ids=["hard", "folder"],
)
def test_data_that_the_judge_does_not_know_are_refused_before_any_work(trained, write, what):
    write(trained)
    with pytest.raises(KaleidoError) as caught:
        evaluate(small(trained))
    assert caught.value.code == "not-comparable" and caught.value.what.endswith(what)
    assert "--features" in caught.value.hint and "--embedded" in caught.value.hint
    assert not trained.reports("evaluation").exists() and not trained.logs.exists()


class Interrupting(Progress):
    """Ends the run, as Ctrl-C does, after so many groups of pictures."""

    def __init__(self, after):
        self._left = after

    def task(self, *arguments, **options):
        def advance(n=1, note=""):
            self._left -= 1
            if self._left == 0:
                raise KeyboardInterrupt

        return nullcontext(advance)


def test_an_interrupted_run_goes_on_at_its_last_finished_cell(trained):
    # A cell has two groups of pictures, so the fifth is the first half of the third cell.
    with pytest.raises(KeyboardInterrupt):
        evaluate(small(trained), captions=CAPTIONS, progress=Interrupting(5))
    assert not trained.reports("evaluation").exists()
    assert len(list((trained.logs / "evaluate/evaluation").iterdir())) == 2
    resumed = evaluate(small(trained), captions=CAPTIONS)
    assert (resumed.cells, resumed.reused) == (18, 2)
    undisturbed = evaluate(small(trained), name="other", captions=CAPTIONS)
    assert undisturbed.reused == 0
    assert json.dumps(resumed.rows) == json.dumps(undisturbed.rows)


def test_only_what_changed_is_computed_again(trained):
    def reused(**changes):
        return evaluate(small(trained, **changes), captions=CAPTIONS).reused

    assert reused() == 0
    assert reused() == 18
    assert reused(seeds=(1, 0, 2)) == 16  # z of another first seed are drawn twice
    assert reused(cfg=(1.0, 3.0, 7.5)) == 16  # the third seed's cells are not wanted any more
    assert len(list((trained.logs / "evaluate/evaluation").iterdir())) == 25
    assert reused(steps=3) == 4  # real pictures
    assert reused(n=4) == 0
    model = Diffusion.load(trained.models("diffusion"))
    assert reused(n=4) == 18
    with torch.no_grad():
        model.denoiser.proj_out.out.weight += 0.01
    model.save(trained.models("diffusion"))
    assert reused(n=4) == 10


def test_a_killed_program_goes_on(trained):
    write_scenes(trained, 60, seed=3, size=16)
    command = [sys.executable, "-m", "kaleido_cli", "evaluate", "--name", "killed", "--json"]
    options = {"--captions": "2", "--n": "4", "--steps": "20", "--seeds": "0,1", "--cfg": "1,7.5"}
    command += [word for pair in options.items() for word in pair]
    root = str(Path(__file__).parents[2])
    where = {"cwd": trained.root, "env": {**os.environ, "PYTHONPATH": root}}
    cells = trained.logs / "evaluate/killed"
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    with subprocess.Popen(command, **quiet, **where) as run:
        end = time.monotonic() + 600
        while len(list(cells.glob("*.npz"))) < 5 and time.monotonic() < end:
            assert run.poll() is None
            time.sleep(0.01)
        run.kill()
    assert not trained.reports("killed").exists()
    done = subprocess.run(command, capture_output=True, check=True, **where)
    summary = json.loads(done.stdout)
    assert 5 <= summary["reused"] < summary["cells"] == 19  # one of training pictures
    assert Path(summary["report"]).is_file()
    assert {path.suffix for path in cells.iterdir()} == {".npz"}


@pytest.fixture
def shipped(tmp_path, tiny_models, monkeypatch):
    """The tiny models in place of the embedded ones."""
    folder = tmp_path / "embedded"
    folder.mkdir()
    (folder / "judge").symlink_to(embedded_path("judge"))
    for name in ("prior", "diffusion", "baseline"):
        (folder / name).symlink_to(tiny_models / name)
    monkeypatch.setattr("pipelines.embedded.paths.ROOT", folder)
    monkeypatch.setattr("pipelines.scenes.shipped_data.SCENES", 100)


def test_the_embedded_models_need_no_data_and_no_training(workspace, shipped):
    summary = evaluate(small(workspace), embedded=True)
    found = content(summary)
    assert found["sources"] == dict.fromkeys(("baseline", "window", "kaleido", "given"), "embedded")
    assert found["plan"]["captions"] == fresh_captions(2)
    assert found["command"].endswith("--embedded")
    assert not workspace.data.exists()

    # Without models of its own the workspace falls back on them, and says so.
    told = Told()
    again = evaluate(small(workspace), progress=told)
    assert any("embedded models" in said for said in told.said)
    assert again.reused == again.cells


def test_the_embedded_models_are_compared_whatever_the_workspace_holds(trained, shipped):
    write_scenes(trained, 30, seed=3, size=16, hard=True)
    found = content(evaluate(small(trained), embedded=True))
    assert found["sources"]["kaleido"] == "embedded"
    assert found["plan"]["captions"] == fresh_captions(2)


def test_missing_embedded_models_are_named(workspace, tmp_path, monkeypatch):
    monkeypatch.setattr("pipelines.embedded.paths.ROOT", tmp_path)
    with pytest.raises(InputMissing) as caught:
        evaluate(small(workspace), embedded=True)
    assert caught.value.what == "prior"


def test_the_embedded_tokenizer_reads_the_embedded_models_pictures(workspace, monkeypatch):
    monkeypatch.setattr("pipelines.scenes.shipped_data.SCENES", 100)
    few = small(workspace, n=4, cfg=(1.0,), seeds=(0,), captions=1)
    rows = content(evaluate(few, embedded=True, models=["kaleido"], z_kinds=["tokens"]))["rows"]
    found = {row["metric"].partition("[")[0]: row for row in rows if row["model"] == "kaleido"}
    name = f"vq@{tokenizer_metadata(embedded_path('tokenizer'))['identity'][:8]}"
    assert found["tokens"]["metric"] == f"tokens[{name}]"
    assert 0.0 <= found["tokens"]["value"] <= 1.0
    assert found["z.length"]["value"] == 69  # 64 ids, the kind, the grid, and the end

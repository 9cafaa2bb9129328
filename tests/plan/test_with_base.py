from __future__ import annotations

import json

import numpy as np
import pytest

from pipelines.core.errors import KaleidoError
from pipelines.core.images import decode_image
from pipelines.documents.document import Document
from pipelines.documents.element import Element
from tests.servers.model_server import MODEL, model_server

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

CAPTION = "two circles and a star"
QUICK = ("--steps", "2", "--n", "3", "--size", "64")


@pytest.fixture
def draw(invoke, base_folder, tmp_path):
    """Return a function that runs `sample --base` and returns its rows and pictures."""

    def run(family, *arguments, to="out"):
        base = ("--base", str(base_folder(family)))
        said = invoke("sample", *arguments, *base, "--out", str(tmp_path / to))
        lines = (tmp_path / to / "samples.jsonl").read_text("utf-8").splitlines()
        rows = [json.loads(line) for line in lines]
        files = [tmp_path / to / row["file"] for row in rows]
        return rows, [decode_image(file.read_bytes(), file.name) for file in files], said

    return run


def test_each_sample_has_its_own_z_as_the_prompt(draw, tmp_path):
    rows, pictures, said = draw("sdxl", CAPTION, *QUICK, "--cfg", "7.5")
    assert (tmp_path / "out" / "sheet.png").is_file()
    assert [row["index"] for row in rows] == [0, 1, 2]
    assert len({row["prompt"] for row in rows}) == 3
    assert all(row["prompt"].startswith(CAPTION) for row in rows)
    assert len({picture.tobytes() for picture in pictures}) == 3
    assert pictures[0].shape == (64, 64, 3)
    row = rows[0]
    assert row["settings"]["cfg"] == 7.5
    assert row["settings"]["cfg_end"] == 0.0
    assert row["base"]["family"] == "sdxl" and len(row["base"]["identity"]) == 64
    document = Document.model_validate_json(json.dumps(row["document"]))
    assert (document.caption, document.image.width) == (CAPTION, 64)
    assert "77 tokens" in said.err  # the tiny tokenizer has one per letter


def test_z_are_those_of_plan(draw, invoke, tmp_path):
    rows, _, _ = draw("z-image", CAPTION, *QUICK)
    invoke("plan", CAPTION, "--n", "3", "--out", str(tmp_path / "plans"))
    lines = (tmp_path / "plans" / "documents.z.jsonl").read_text("utf-8").splitlines()
    for row, line in zip(rows, map(json.loads, lines), strict=True):
        assert row["document"]["elements"] == line["elements"]


def test_usual_guidance_and_steps_are_those_of_the_base(draw):
    rows, _, _ = draw("sana", CAPTION, "--n", "1", "--size", "64")
    assert {key: rows[0]["settings"][key] for key in ("cfg", "steps")} == {"cfg": 4.5, "steps": 20}


def test_samples_are_drawn_again_from_their_list(draw, tmp_path):
    rows, pictures, _ = draw("sana", CAPTION, *QUICK, "--cfg", "3")
    lines = (tmp_path / "out" / "samples.jsonl").read_text("utf-8").splitlines()
    (tmp_path / "two.jsonl").write_text("\n".join(lines[1:]) + "\n", "utf-8")
    again = ("--from-z", str(tmp_path / "two.jsonl"), "--cfg", "3", "--steps", "2", "--size", "64")
    rows_again, pictures_again, _ = draw("sana", *again, to="again")
    assert [row["prompt"] for row in rows_again] == [row["prompt"] for row in rows[1:]]
    np.testing.assert_array_equal(pictures_again, pictures[1:])


def test_a_document_of_any_source_is_drawn(draw, tmp_path):
    fox = Element(id="e0", label="fox", box=(0.0, 0.7, 0.2, 0.95))
    (tmp_path / "fox.json").write_text(Document(elements=(fox,)).to_json(), "utf-8")
    rows, _, _ = draw("sana", "a fox in snow", "--from-z", str(tmp_path / "fox.json"), *QUICK)
    assert [row["prompt"] for row in rows] == ["a fox in snow. small fox at the bottom left"]


def test_a_document_without_a_caption_needs_one(draw, tmp_path):
    (tmp_path / "fox.json").write_text(Document(description="a fox").to_json(), "utf-8")
    with pytest.raises(AssertionError, match="caption"):
        draw("sana", "--from-z", str(tmp_path / "fox.json"), *QUICK)


def test_the_baseline_reads_the_caption_alone(draw):
    rows, _, _ = draw("sana", CAPTION, *QUICK, "--baseline", "--negative", "blurred")
    assert [row["prompt"] for row in rows] == [CAPTION] * 3
    assert "document" not in rows[0]
    assert rows[0]["settings"]["negative"] == "blurred"


def test_diverse_z_keep_the_noise_of_their_number(draw):
    rows, _, _ = draw("sana", CAPTION, *QUICK, "--diverse", "6")
    assert len(rows) == 3 and {row["index"] for row in rows} <= set(range(6))
    every, pictures, _ = draw("sana", CAPTION, "--n", "6", *QUICK[:2], *QUICK[4:], to="all")
    for row in rows:
        assert row["prompt"] == every[row["index"]]["prompt"]


def test_a_distilled_base_is_not_guided_unless_asked(draw, base_folder, tmp_path, invoke):
    import shutil

    folder = shutil.copytree(base_folder("flux2-klein"), tmp_path / "klein")
    index = json.loads((folder / "model_index.json").read_text("utf-8")) | {"is_distilled": True}
    (folder / "model_index.json").write_text(json.dumps(index), "utf-8")
    common = ("sample", CAPTION, "--n", "1", "--size", "64", "--base", str(folder))
    said = invoke(*common, "--out", str(tmp_path / "plain"))
    row = json.loads((tmp_path / "plain" / "samples.jsonl").read_text("utf-8"))
    assert (row["settings"]["cfg"], row["settings"]["steps"]) == (1.0, 4)
    assert "distilled" not in said.err
    said = invoke(*common, "--out", str(tmp_path / "guided"), "--cfg", "4", "--steps", "1")
    assert "distilled" in said.err


def test_flags_of_bases_need_a_base(invoke):
    assert "--negative" in invoke("sample", CAPTION, "--negative", "fog", code=2).err
    for flag in ("--sampler", "--speed", "--z-noise"):
        assert flag in invoke("sample", CAPTION, "--base", "x", flag, "bf16", code=2).err


def test_mistakes_show_before_z_is_drawn(invoke, tmp_path, base_folder):
    common = ("sample", CAPTION, "--base")
    assert "folder" in invoke(*common, str(tmp_path / "none"), code=1).err
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").write_text("x")
    folder = str(base_folder("sana"))
    invoke(*common, folder, "--out", str(tmp_path / "full"), code=1)
    said = invoke(*common, folder, "--from-z", "x.jsonl", "--baseline", code=2)
    assert "--from-z" in said.err


def test_a_sample_of_a_base_is_not_edited_with_our_models(draw, invoke, tmp_path):
    draw("sana", CAPTION, *QUICK)
    said = invoke("edit", str(tmp_path / "out" / "0000-0000.png"), "--remove", "e0", code=1)
    assert "--base" in said.err


def test_errors_have_codes(base_folder, workspace):
    from pipelines.plan.prompts import read_base_requests

    with pytest.raises(KaleidoError):
        read_base_requests(b"", "empty", "a caption")


def test_a_language_model_plans_and_the_base_draws(draw, invoke, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    invoke("init", ".")
    with model_server() as server:
        server.behaviour = _write_plans
        planner = ("--planner", f"{server.url}#{MODEL}")
        rows, pictures, said = draw("z-image", CAPTION, *QUICK, *planner)
        assert len({picture.tobytes() for picture in pictures}) == len(rows) == 3
        for row in rows:
            document = Document.model_validate_json(json.dumps(row["document"]))
            assert document.background in row["prompt"] and "red tree" in row["prompt"]
            assert len(row["planner"]) == 64
        assert server.url in said.err
        asked = len(server.requests)
        again, same, _ = draw("z-image", CAPTION, *QUICK, *planner, to="again")
        assert len(server.requests) == asked, "the plans are kept"
        assert [row["document"] for row in again] == [row["document"] for row in rows]
    invoke("sample", CAPTION, *planner, code=2)


def _write_plans(exchange) -> None:
    place = {"left": 100, "top": 100, "width": 300, "height": 300}
    labels = ("circle", "circle", "star", "red tree")
    elements = [{"label": label, "detail": "plain", **place} for label in labels]
    plans = [{"background": f"field {exchange.number} {n}", "elements": elements} for n in range(4)]
    exchange.answer(json.dumps({"plans": plans}))

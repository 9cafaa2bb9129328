"""Samples are found by what their list says, however people or programs have changed it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipelines.core.errors import KaleidoError
from pipelines.documents import edit as edits
from pipelines.sample.edit import DrawnSample, edit_sample, find_sample, settings_of
from pipelines.workspace.settings import SampleSettings

FILE = "0000-0000.png"
ROW = {
    "file": FILE,
    "caption": "a\u2028circle",
    "z": "<boxes> circle <120><330><410><620>",
    "index": 0,
    "model": "kaleido",
    "source": "embedded",
    "settings": {"steps": 3, "z_kinds": ["boxes"]},
}


@pytest.fixture
def list_lines(tmp_path):
    Image.new("RGB", (64, 64), "white").save(tmp_path / FILE)

    def write(*lines) -> str:
        texts = [x if isinstance(x, str) else json.dumps(x, ensure_ascii=False) for x in lines]
        data = "\n".join(texts).encode("utf-8", "surrogatepass")
        (tmp_path / "samples.jsonl").write_bytes(data)
        return str(tmp_path / FILE)

    return write


def test_a_line_is_found_among_others_and_separators_within_a_text_do_not_end_it(
    workspace, list_lines
):
    found = find_sample(workspace, list_lines({"file": "a.png"}, "", "[1]", "3", ROW, "{"))
    assert found.row["caption"] == ROW["caption"]
    assert found.document.elements[0].label == "circle"


@pytest.mark.parametrize(
    ("lines", "code"),
    [
        (["[1]", "null", "3", '"x"', {"z": "x"}, {"file": 3}], "input-missing"),
        ([ROW | {"z": ""}], "model-mismatch"),
        (["{"], "bad-data"),
        (["[" * 100_000], "bad-data"),
        ([json.dumps(ROW)[:-1] + ', "z": "<boxes> x"}'], "bad-data"),
        ([json.dumps(ROW | {"settings": {"cfg": float("inf")}})], "bad-data"),
        ([ROW | {"caption": "half a pair \ud800"}], "bad-data"),
        *(
            ([ROW | {key: value}], "bad-data")
            for key in ("z", "caption", "index", "source", "settings")
            for value in (None, 1.5, True, [1])
        ),
        *(([{k: v for k, v in ROW.items() if k != key}], "bad-data") for key in list(ROW)[1:4]),
    ],
)
def test_a_damaged_list_is_an_error(workspace, list_lines, lines, code):
    with pytest.raises(KaleidoError) as caught:
        find_sample(workspace, list_lines(*lines))
    assert caught.value.code == code


@pytest.mark.parametrize(
    "row", [{"steps": 0}, {"steps": "3"}, {"cfg": "7"}, {"seed": 1.5}, {"top_p": 2}, {"n": True}]
)
def test_settings_of_a_list_are_checked(row):
    with pytest.raises(KaleidoError) as caught:
        settings_of(row, "samples.jsonl")
    assert caught.value.code == "bad-setting" and "samples.jsonl" in caught.value.what
    assert settings_of({"steps": 3, "later": 1}, "x") == SampleSettings(steps=3)


def test_other_models_than_those_that_drew_are_refused(workspace, list_lines):
    found = find_sample(workspace, list_lines(ROW | {"source": "workspace"}))
    with pytest.raises(KaleidoError) as caught:
        edit_sample(workspace, found, [])
    assert caught.value.code == "model-mismatch"
    assert not (workspace.root / "samples").exists()


def test_a_document_that_breaks_a_rule_is_not_drawn(workspace, list_lines):
    found = find_sample(workspace, list_lines(ROW))
    for text in ("x" * 4001, "half a pair \ud800"):
        with pytest.raises(KaleidoError) as caught:
            edit_sample(workspace, found, [lambda d, text=text: edits.describe(d, text)])
        assert caught.value.code == "bad-data"


def test_the_colour_of_an_element_is_that_of_the_middle_of_its_box(workspace, tmp_path):
    """A third of the box in either direction, around its middle: here 8 x 4 pixels of 48 x 24."""
    pixels = np.full((24, 48, 3), 255, np.uint8)
    pixels[10:15, 20:29] = (200, 30, 10)
    row = ROW | {"z": "<boxes> star <250><250><750><750> <;> circle <0><0><20><1000>"}
    drawn = DrawnSample(tmp_path / FILE, row, pixels)
    assert [drawn.colour_of(name) for name in ("star", "circle")] == ["#C81E0A", "#FFFFFF"]
    for edge in ((9, 21), (15, 21), (11, 19), (11, 29)):  # what is around it does not count
        assert tuple(pixels[edge]) == (255, 255, 255)
    pixels[10:15, 20:24] = (0, 0, 0)  # 20 of 45 pixels
    assert drawn.colour_of("star") == "#C81E0A"
    pixels[10:13, 24] = (0, 0, 0)  # 23 of them
    assert drawn.colour_of("star") == "#000000"


def test_a_sample_that_is_not_there_is_told_from_one_without_a_list(workspace, list_lines):
    with pytest.raises(KaleidoError) as caught:
        find_sample(workspace, "a/0001")
    assert caught.value.code == "input-missing" and "no such sample" in caught.value.why
    alone = list_lines(ROW)
    Path(alone).with_name("samples.jsonl").unlink()
    with pytest.raises(KaleidoError) as caught:
        find_sample(workspace, alone)
    assert caught.value.code == "input-missing" and "samples.jsonl" in caught.value.why


@pytest.mark.parametrize(("model", "refused"), [("base", True), ("kaleido", False)])
def test_what_a_model_of_others_drew_is_not_edited(workspace, list_lines, model, refused):
    name = list_lines(ROW | {"model": model})
    if not refused:
        assert find_sample(workspace, name).row["model"] == model
        return
    with pytest.raises(KaleidoError) as caught:
        find_sample(workspace, name)
    assert caught.value.code == "model-mismatch"

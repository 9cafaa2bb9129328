from __future__ import annotations

import json

import pytest

CAPTION = "two circles and a star"


@pytest.fixture
def drawn(invoke, tmp_path, monkeypatch):
    """Samples of the embedded models, with z and without."""
    monkeypatch.chdir(tmp_path)
    common = ("--n", "4", "--steps", "12", "--z", "boxes")
    invoke("sample", CAPTION, *common, "--name", "with-z")
    invoke("sample", CAPTION, *common[:4], "--name", "another", "--seed", "5")
    return tmp_path


def test_a_detector_tells_what_caption_and_z_ask_for(invoke, drawn):
    rows = drawn / "samples" / "another" / "samples.jsonl"
    lines = [json.loads(line) | {"caption": CAPTION} for line in rows.read_text().splitlines()]
    for line in lines:  # z of other pictures: none of its boxes is there
        line["z"], line["document"] = "", {}
    lines[0]["z"] = "<boxes> heart <0> <0> <9> <9>"
    rows.write_text("\n".join(map(json.dumps, lines)))
    detect = ("--detect", "--set", "extract.boxes_model=scenes")
    said = invoke("evaluate", "--pictures", "another", "--pictures", "with-z", *detect, "--json")
    found = json.loads(said.out)
    rows = {(row["folder"], row["metric"]): row for row in found["rows"]}
    own, other = (rows["with-z", name]["value"] for name in ("boxes", "boxes.resampled"))
    assert own > 0.7 > other
    assert rows["another", "boxes"]["value"] == 0
    assert rows["with-z", "objects"]["value"] >= 0.5
    assert rows["with-z", "objects"]["difference"] is not None
    assert "objects that the caption names changes by" in found["answers"][0]


def test_a_detector_must_be_named(invoke):
    assert "--detect needs" in invoke("evaluate", "--detect", code=2).err

import json
import sys

import numpy as np
import pytest
from PIL import Image

SCENE = {
    "format": "kaleido.z",
    "version": 1,
    "caption": "a star and a circle",
    "elements": [
        {
            "id": "e0",
            "type": "object",
            "label": "star",
            "box": [0.1, 0.1, 0.4, 0.4],
            "ellipse": {"x": 0.25, "y": 0.25, "major": 0.13, "minor": 0.13, "angle": 0},
        },
        {
            "id": "e1",
            "type": "object",
            "label": "circle",
            "box": [0.6, 0.6, 0.9, 0.9],
            "ellipse": {"x": 0.75, "y": 0.75, "major": 0.15, "minor": 0.15, "angle": 0},
        },
    ],
    "palette": [
        {"hex": "#F5F2E8", "weight": 880},
        {"hex": "#E02020", "weight": 70},
        {"hex": "#2050D0", "weight": 50},
    ],
}
STEPS = ("--steps", "12")


def pixels(path):
    return np.asarray(Image.open(path).convert("RGB")).astype(int)


@pytest.fixture
def drawn(tmp_path, monkeypatch, invoke):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "scene.z.json").write_text(json.dumps(SCENE))
    invoke("sample", "--from-z", "scene.z.json", *STEPS, "--out", "s")
    return tmp_path / "s" / "0000-0000.png"


def test_what_moves_moves_and_the_rest_stays(drawn, tmp_path, invoke):
    invoke("edit", str(drawn), "--move", "star", "500", "0", "--out", "e")
    before, after = pixels(tmp_path / "e" / "before.png"), pixels(tmp_path / "e" / "after.png")
    assert np.array_equal(before, pixels(drawn))
    paper = np.median(before.reshape(-1, 3), axis=0)
    ink = lambda picture, x: (abs(picture[6:26, x : x + 19] - paper).max(axis=2) > 60).mean()  # noqa: E731
    assert ink(before, 6) > 0.3 > 0.1 > ink(after, 6), "the star has left its place"
    assert ink(after, 38) > 0.3 > 0.1 > ink(before, 38), "and stands in the new one"
    assert abs(after - before)[36:, 36:].mean() <= 0.05 * 255, "the circle stays"
    document = json.loads((tmp_path / "e" / "after.z.json").read_text())
    assert document["elements"][0]["box"] == [0.6, 0.1, 0.9, 0.4]
    assert document["elements"][0]["ellipse"]["x"] == 0.75
    invoke("edit", "e/after.png", "--remove", "star", "--out", "again")
    assert len(json.loads((tmp_path / "again" / "after.z.json").read_text())["elements"]) == 1


def test_an_element_is_recoloured_as_the_picture_shows_it(drawn, tmp_path, invoke):
    invoke("edit", str(drawn), "--recolour", "star", "#30a030", "--out", "e")
    palette = json.loads((tmp_path / "e" / "after.z.json").read_text())["palette"]
    assert "#30A030" in [swatch["hex"] for swatch in palette]
    assert palette[0]["hex"] == "#F5F2E8", "not the paper's"


def test_the_editor_changes_the_document(drawn, tmp_path, invoke, monkeypatch):
    script = tmp_path / "editor.py"
    script.write_text(
        "import json, sys\n"
        "form = json.load(open(sys.argv[1]))\n"
        "form['elements'].pop()\n"
        "json.dump(form, open(sys.argv[1], 'w'))\n"
    )
    monkeypatch.setenv("VISUAL", f"{sys.executable} '{script}'")
    invoke("edit", str(drawn), "--open", "--out", "e")
    labels = [
        e["label"] for e in json.loads((tmp_path / "e" / "after.z.json").read_text())["elements"]
    ]
    assert labels == ["star"]
    monkeypatch.setenv("VISUAL", "false")
    assert "editor" in invoke("edit", str(drawn), "--open", "--out", "f", code=1).err
    assert not (tmp_path / "f").exists()


def test_changes_that_cannot_be_made_are_errors(drawn, tmp_path, invoke):
    assert "star" in invoke("edit", str(drawn), "--move", "hat", "1", "1", code=1).err
    assert "--move" in invoke("edit", str(drawn), code=2).err
    assert "--move" in invoke("edit", str(drawn), "--move", "star", "x", "1", code=2).err
    assert "it's" in invoke("edit", str(drawn), "--move", "it's", "1", "1", code=1).err
    assert "no such sample" in invoke("edit", "nothing/0000-0000", "--remove", "a", code=1).err
    invoke("sample", "a star", "--n", "1", "--steps", "1", "--baseline", "--out", "b")
    assert "baseline" in invoke("edit", "b/0000-0000.png", "--remove", "star", code=1).err

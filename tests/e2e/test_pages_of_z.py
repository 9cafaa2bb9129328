"""The how-to pages on z: their commands run as they stand, with fewer steps."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

PAGES = Path(__file__).parents[2] / "docs" / "how-to"
FEWER = {
    "kaleido sample": ("--steps", "3"),
    "kaleido plan": ("--n", "2"),
    "kaleido data scenes": ("--n", "12"),
    "kaleido train": ("--steps", "1"),
}
"""Options that shorten a command; the last one of a name counts."""

TINY = """
[prior]
d_model = 32
d_ff = 32
layers = 1
heads = 2
batch_size = 2
warmup = 1

[diffusion]
layers = 1
image_size = 16
batch_size = 2
"""


def commands(page: str) -> list[str]:
    """The lines of the page's shell blocks, without comments."""
    text = (PAGES / page).read_text("utf-8")
    blocks = re.findall(r"^```\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    return [line.split(" # ")[0] for block in blocks for line in block.splitlines()]


def shortened(words: list[str]) -> list[str]:
    """A command's arguments, made cheaper."""
    more = FEWER.get(" ".join(words[:2]), ()) or FEWER.get(" ".join(words[:3]), ())
    if "--from-z" in words:
        more = ("--steps", "3")
    pool = ("--diverse", "5") if "--diverse" in words else ()
    return [*words[1:], *more, *pool]


@pytest.fixture
def follow(tmp_path, monkeypatch, invoke):
    """Return a function that runs a page's commands in an empty folder."""
    monkeypatch.chdir(tmp_path)

    def run(page: str) -> dict[str, str]:
        said = {}
        for line in commands(page):
            for command in line.split(" && "):
                words = shlex.split(command)
                if words[0] == "cd":
                    monkeypatch.chdir(words[1])
                    Path("kaleido.toml").write_text(TINY)
                    continue
                assert words[0] == "kaleido", command
                said[command.strip()] = invoke(*shortened(words)).out
        return said

    return run


@pytest.fixture
def annotated(tmp_path):
    """Three pictures of a red boat, annotated in COCO's and in YOLO's format."""
    form = {"images": [], "categories": [{"id": 1, "name": "boat"}], "annotations": []}
    for name in ("pictures", "labels"):
        (tmp_path / name).mkdir()
    for number in range(3):
        pixels = np.full((64, 64, 3), 220, np.uint8)
        left = 8 + 8 * number
        pixels[24:40, left : left + 16] = (200, 30, 30)
        Image.fromarray(pixels).save(tmp_path / "pictures" / f"b{number}.png")
        (tmp_path / "pictures" / f"b{number}.txt").write_text("a red boat")
        image = {"id": number, "file_name": f"b{number}.png", "width": 64, "height": 64}
        form["images"].append(image)
        box = {"id": number, "image_id": number, "category_id": 1, "bbox": [left, 24, 16, 16]}
        form["annotations"].append(box)
        row = f"0 {(left + 8) / 64} 0.5 0.25 0.25\n"
        (tmp_path / "labels" / f"b{number}.txt").write_text(row)
    (tmp_path / "instances.json").write_text(json.dumps(form))
    (tmp_path / "data.yaml").write_text("names:\n  0: boat\n")
    return tmp_path


def test_bring_your_annotations(annotated, follow):
    follow("bring-your-annotations.md")
    assert (annotated / "layouts.png").is_file()
    rows = (annotated / "yolo-labels" / "b1.txt").read_text()
    assert rows == (annotated / "labels" / "b1.txt").read_text()
    found = json.loads((annotated / "found" / "annotations.json").read_text())
    boxes = [row["bbox"] for row in found["annotations"]]
    assert np.allclose(boxes, [[8 + 8 * n, 24, 16, 16] for n in range(3)], atol=0.1)


def test_plan_for_other_models(tmp_path, follow):
    said = follow("plan-for-other-models.md")
    for name in ("for-ideogram", "for-fibo"):
        assert len(list((tmp_path / "plans" / name).glob("*.json"))) == 2
    assert any("chosen from 5" in text for text in said.values())
    assert len(list((tmp_path / "samples" / "varied").glob("0*.png"))) == 2


def test_edit_and_draw_again(tmp_path, follow):
    follow("edit-and-draw-again.md")
    samples = tmp_path / "samples"
    after = samples / "blue" / "after.png"
    assert after.read_bytes() != (samples / "blue" / "before.png").read_bytes()
    other = (samples / "other-noise" / "0000-0000.png").read_bytes()
    assert other != (samples / "by-hand" / "0000-0000.png").read_bytes()


def test_element_colours(tmp_path, follow):
    said = follow("element-colours.md")
    assert any("colours" in text for text in said.values())
    document = (tmp_path / "kites" / "samples" / "green" / "after.z.json").read_text()
    assert '"colours":["#30A040"]' in document

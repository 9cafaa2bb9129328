"""Pictures with COCO annotations go all the way, without a detector or the toy world."""

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.evaluate.test_own_pictures import PROGRAM, SETTINGS

COUNT, WIDTH, HEIGHT = 24, 32, 16

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "annotations.md"


def commands_of(page):
    """Return the commands of a page's shell blocks, each as words without the program."""
    blocks = re.findall(r"```bash\n(.*?)```", page.read_text("utf-8"), re.DOTALL)
    return [shlex.split(line)[1:] for block in blocks for line in block.splitlines()]


@pytest.fixture
def annotated(tmp_path):
    """Write wide pictures with a red kite in each, and COCO annotations of all but the last."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    form = {"images": [], "categories": [{"id": 7, "name": "kite"}], "annotations": []}
    for number in range(COUNT):
        pixels = np.full((HEIGHT, WIDTH, 3), 200, np.uint8)
        left = number % 20
        pixels[4:12, left : left + 8] = (220, 20, 20)
        Image.fromarray(pixels).save(folder / f"p{number}.png")
        (folder / f"p{number}.txt").write_text(f"a red kite, number {number}")
        image = {"id": number, "file_name": f"p{number}.png", "width": WIDTH, "height": HEIGHT}
        row = {"id": number, "image_id": number, "category_id": 7, "bbox": [left, 4, 8, 8]}
        form["images"].append(image)
        form["annotations"].append(row)
    form["annotations"].pop()
    (tmp_path / "coco.json").write_text(json.dumps(form))
    return tmp_path


def test_boxes_of_coco_train_sample_and_go_back_to_coco(annotated, workspace):
    commands = commands_of(PAGE)
    settings = SETTINGS + "data.image_size = 32\n"
    (workspace.root / "kaleido.toml").write_text(settings)
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, json.dumps(commands)],
        cwd=workspace.root,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    toy = json.loads(done.stdout.partition("FOUND ")[2])
    assert len(toy) == len(commands) and not any(toy.values())
    assert f"{COUNT - 1} documents of boxes; 1 records have none" in done.stdout
    check_boxes(annotated)
    rows = (workspace.root / "samples" / "kites" / "samples.jsonl").read_text().splitlines()
    assert len(rows) == 2 and all(json.loads(row)["z"].startswith("<boxes>") for row in rows)
    assert sorted(path.name for path in (annotated / "drawn").iterdir()) == [
        "0000-0000.xml",
        "0000-0001.xml",
    ]


def check_boxes(folder):
    """Compare the exported boxes with the annotated ones, where padding has put them."""
    before = json.loads((folder / "coco.json").read_text())
    after = json.loads((folder / "extracted" / "annotations.json").read_text())
    assert [category["name"] for category in after["categories"]] == ["kite"]
    found = {image["id"]: image for image in after["images"]}
    boxes = {found[row["image_id"]]["file_name"]: row["bbox"] for row in after["annotations"]}
    assert len(boxes) == len(before["annotations"])
    for row in before["annotations"]:
        stem = f"p{row['image_id']}"
        image = next(each for each in found.values() if Path(each["file_name"]).stem == stem)
        assert image["width"] == image["height"]
        scale = image["width"] / WIDTH
        x, y, width, height = row["bbox"]
        top = y + (WIDTH - HEIGHT) / 2
        expected = [scale * value for value in (x, top, width, height)]
        assert boxes[image["file_name"]] == pytest.approx(expected, abs=scale * WIDTH / 1000)

import json
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from pipelines.core.errors import InputMissing, KaleidoError
from pipelines.core.masks import run_lengths
from pipelines.data.annotate import annotate
from pipelines.data.folder import write_folder
from pipelines.extract.run import extract
from pipelines.latents.oklab import hex_to_oklab
from pipelines.workspace.config import override
from pipelines.workspace.manifest import read_rows
from pipelines.workspace.reader import read_joined

RED, GREY = "#dc1414", "#e6e6e6"


@pytest.fixture
def pictures(tmp_path):
    """Return a folder of six wide pictures, a red square in each, and COCO annotations of them."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    form = {"images": [], "categories": [{"id": 1, "name": "square"}], "annotations": []}
    for number in range(6):
        pixels = np.full((50, 100, 3), 230, np.uint8)
        left = 5 + 10 * number
        pixels[20:30, left : left + 10] = (220, 20, 20)
        Image.fromarray(pixels).save(folder / f"p{number}.png")
        (folder / f"p{number}.txt").write_text("a red square")
        form["images"].append(
            {"id": number, "file_name": f"x/p{number}.png", "width": 100, "height": 50}
        )
        form["annotations"].append(
            {"id": number, "image_id": number, "category_id": 1, "bbox": [left, 20, 10, 10]}
        )
    (tmp_path / "coco.json").write_text(json.dumps(form))
    return folder


def latents(workspace, kind):
    return [
        r.latents.get(kind)
        for s in workspace.data_shards()
        for r in read_joined(workspace, s, [kind])
    ]


def with_source(workspace):
    return replace(workspace, settings=override(workspace.settings, {"extract.source": "layouts"}))


@pytest.mark.parametrize(("fit", "top"), [("pad", 450), ("crop", 400)])
def test_boxes_of_coco_are_where_the_pixels_are(pictures, workspace, tmp_path, fit, top):
    workspace = replace(
        workspace, settings=override(workspace.settings, {"data.fit": fit, "data.shard_size": 4})
    )
    write_folder(workspace, pictures)
    summary = annotate(workspace, [tmp_path / "coco.json"], "coco")
    assert (summary.annotated, summary.without, summary.failed) == (6, 0, 0)
    extract(with_source(workspace), ["boxes"])
    found = [boxes for boxes in latents(workspace, "boxes") if boxes is not None]
    # A crop cuts 25 pixels off each side: the first two squares are gone, the last one is not.
    assert len(found) == (6 if fit == "pad" else 4)
    for shard in workspace.data_shards():
        for record in read_joined(workspace, shard, ["boxes"]):
            if "boxes" not in record.latents:
                continue
            (box,) = record.latents["boxes"].items
            assert box.label == "square" and box.y1 == top
            red = record.pixels[:, :, 1] < 120
            columns = np.flatnonzero(red.any(axis=0)) * 1000 / record.pixels.shape[1]
            assert box.x1 == pytest.approx(columns.min(), abs=25)


def test_every_record_is_accounted_for_and_a_rerun_has_nothing_to_do(pictures, workspace, tmp_path):
    write_folder(workspace, pictures)
    form = json.loads((tmp_path / "coco.json").read_text())
    form["annotations"] = form["annotations"][:-1]
    form["images"] = [
        *form["images"],
        {"id": 99, "file_name": "other.png", "width": 9, "height": 9},
    ]
    form["images"][0] |= {"width": 50, "height": 100}
    del form["images"][1]
    (tmp_path / "coco.json").write_text(json.dumps(form))
    summary = annotate(workspace, [tmp_path / "coco.json"], "coco")
    assert (summary.annotated, summary.without, summary.failed) == (4, 1, 1)
    assert summary.unused == ["other"] and "50 x 100" in summary.failures[0][1]
    sourced = with_source(workspace)
    assert [s.ok for s in extract(sourced, ["boxes"])] == [3]
    (shard,) = workspace.data_shards()
    reasons = {r.key: r.outcome for r in read_rows(workspace.latents("boxes") / shard.name)}
    assert sorted(reasons.values()) == ["filtered"] * 3 + ["ok"] * 3
    annotate(workspace, [tmp_path / "coco.json"], "coco")
    assert [s.skipped for s in extract(sourced, ["boxes"])] == [1]


def test_layouts_that_are_right_are_not_replaced_by_none(pictures, workspace, tmp_path):
    write_folder(workspace, pictures)
    annotate(workspace, [tmp_path / "coco.json"], "coco")
    before = (workspace.root / "layouts" / "000000.tar").read_bytes()
    (tmp_path / "zzz.bbox").write_text('[{"label":"a","bbox":[0,0,1,1]}]')
    with pytest.raises(KaleidoError) as caught:
        annotate(workspace, [tmp_path / "zzz.bbox"], "bbox")
    assert caught.value.code == "nothing-produced"
    assert (workspace.root / "layouts" / "000000.tar").read_bytes() == before


@pytest.mark.parametrize(
    ("fit", "blob"), [("pad", (100, 500, 56, 56)), ("keep", (100, 500, 113, 56))]
)
def test_polygons_give_blobs_and_palettes_come_along(pictures, workspace, tmp_path, fit, blob):
    workspace = replace(workspace, settings=override(workspace.settings, {"data.fit": fit}))
    write_folder(workspace, pictures)
    document = {
        "format": "kaleido.z",
        "version": 1,
        "key": "p0",
        "elements": [
            {
                "id": "a",
                "label": "square",
                "mask": {"polygons": [[0.05, 0.4, 0.15, 0.4, 0.15, 0.6, 0.05, 0.6]]},
            }
        ],
        "palette": [{"hex": "#E6E6E6", "weight": 980}, {"hex": "#DC1414", "weight": 20}],
    }
    (tmp_path / "z.z.jsonl").write_text(json.dumps(document) + "\n")
    annotate(workspace, [tmp_path / "z.z.jsonl"], "kaleido.z")
    extract(with_source(workspace), ["blobs", "palette", "boxes"])
    (found,) = next(b for b in latents(workspace, "blobs") if b is not None).items
    assert (found.xc, found.yc, found.r_major, found.r_minor) == pytest.approx(blob, abs=6)
    assert fit == "pad" or found.theta == pytest.approx(90, abs=3)
    assert next(p for p in latents(workspace, "palette") if p is not None).items[0].weight == 980
    assert not any(latents(workspace, "boxes")), "an outline without a box is no box"


def test_colours_are_those_of_the_annotation_or_else_those_in_the_picture(
    pictures, workspace, tmp_path
):
    write_folder(workspace, pictures)
    outline = [0.05, 0.4, 0.15, 0.4, 0.15, 0.6, 0.05, 0.6]
    rows = [
        {"id": "a", "label": "stated", "box": [0, 0, 1, 1], "colours": ["#123456"]},
        {"id": "b", "label": "outline", "box": [0.5, 0, 1, 1], "mask": {"polygons": [outline]}},
        {"id": "d", "label": "box", "box": [0.7, 0, 1, 1]},
    ]
    document = {"format": "kaleido.z", "version": 1, "key": "p0", "elements": rows}
    (tmp_path / "z.z.jsonl").write_text(json.dumps(document) + "\n")
    annotate(workspace, [tmp_path / "z.z.jsonl"], "kaleido.z")
    extract(with_source(workspace), ["colours"])
    found = next(each for each in latents(workspace, "colours") if each is not None)
    seen = {item.label: item.hexes for item in found.items}
    assert seen["stated"] == ("#123456",)
    for label, colour in (("outline", RED), ("box", GREY)):
        gap = np.linalg.norm(hex_to_oklab(seen[label][0]) - hex_to_oklab(colour))
        assert gap < 0.05, label


def test_layouts_must_exist_and_hold_the_kind(pictures, workspace):
    write_folder(workspace, pictures)
    with pytest.raises(InputMissing) as caught:
        extract(with_source(workspace), ["boxes"])
    assert "kaleido data annotate" in caught.value.hint
    with pytest.raises(KaleidoError) as caught:
        extract(with_source(workspace), ["tokens"])
    assert caught.value.code == "bad-option"


@pytest.mark.parametrize("fit", ["pad", "crop", "keep"])
def test_run_lengths_of_coco_give_blobs(pictures, workspace, tmp_path, fit):
    workspace = replace(workspace, settings=override(workspace.settings, {"data.fit": fit}))
    write_folder(workspace, pictures)
    form = json.loads((tmp_path / "coco.json").read_text())
    for number, row in enumerate(form["annotations"]):
        mask = np.zeros((50, 100), bool)
        mask[20:30, 5 + 10 * number : 15 + 10 * number] = True
        row["segmentation"] = {"size": [50, 100], "counts": run_lengths(mask.T)}
    form["annotations"][5]["segmentation"]["counts"] = [1] * 5000
    (tmp_path / "coco.json").write_text(json.dumps(form))
    annotate(workspace, [tmp_path / "coco.json"], "coco")
    extract(with_source(workspace), ["blobs"])
    found = [b.items[0] for b in latents(workspace, "blobs") if b is not None]
    assert len(found) == {"pad": 6, "keep": 6, "crop": 4}[fit]
    x, y, side = {"pad": (300, 500, 56), "keep": (300, 500, 113), "crop": (100, 500, 113)}[fit]
    blob = next(b for b in found if abs(b.xc - x) < 8)
    assert (blob.yc, max(blob.r_major, blob.r_minor)) == pytest.approx((y, side), abs=9)

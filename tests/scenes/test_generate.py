"""Scenes: their distribution, their drawing, their captions and their shards."""

from __future__ import annotations

import json
from collections import Counter

import numpy as np
import pytest

from pipelines.core.errors import KaleidoError
from pipelines.core.images import decode_image
from pipelines.core.masks import run_lengths
from pipelines.core.seeds import generator
from pipelines.scenes.captions import caption_scene, read_caption
from pipelines.scenes.draw import draw_scene, ellipse_truth, outline
from pipelines.scenes.factors import (
    ARRANGEMENTS,
    COLOURS,
    P_BACKGROUND,
    P_COUNT,
    P_SHAPE,
    P_STRIPED,
    SHAPES,
    SIZES,
    Scene,
    SceneObject,
    colour_distribution,
    nearest_arrangements,
    sample_scene,
    texture_distribution,
)
from pipelines.scenes.generate import (
    make_record,
    mask_from_runs,
    scene_of,
    write_scenes,
)
from pipelines.workspace.shards import read_records

SCENES = [sample_scene(generator(0, "test", index)) for index in range(4000)]


def _object(shape: str, **changes) -> SceneObject:
    values = {"colour": "red", "texture": "plain", "size": "large", "x": 0.5, "y": 0.5}
    return SceneObject(shape, **{**values, "radius": 0.2, "rotation": 0.0, **changes})


def test_tables_are_distributions() -> None:
    tables = [P_SHAPE, P_COUNT.values(), P_BACKGROUND, [p for p, _ in SIZES.values()]]
    tables += [[p for p, _ in table.values()] for table in ARRANGEMENTS.values()]
    tables += [colour_distribution((shape,)) for shape in SHAPES]
    for table in tables:
        assert sum(table) == pytest.approx(1.0)


def test_sampled_colours_and_textures_follow_the_tables() -> None:
    circles = [item for scene in SCENES for item in scene.objects if item.shape == "circle"]
    colours = Counter(item.colour for item in circles)
    drawn = np.array([colours[colour] for colour in COLOURS]) / len(circles)
    assert np.abs(drawn - colour_distribution(("circle",))).max() < 0.03
    striped = np.mean([item.texture == "striped" for item in circles])
    assert striped == pytest.approx(P_STRIPED[0], abs=0.03)
    assert texture_distribution(("circle", "square"))[1] == pytest.approx(0.35)


def test_size_is_independent_of_shape() -> None:
    for shape in ("circle", "square"):
        sizes = [i.size for scene in SCENES for i in scene.objects if i.shape == shape]
        assert np.mean([size == "small" for size in sizes]) == pytest.approx(0.5, abs=0.04)


def test_arrangements_are_recognised_from_centres() -> None:
    for scene in SCENES[:500]:
        centres = np.array([(item.x, item.y) for item in scene.objects])
        assert nearest_arrangements(centres[None]) == [scene.arrangement]


def test_a_fifth_is_held_out_by_combination() -> None:
    share = np.mean([scene.split == "heldout" for scene in SCENES])
    assert 0.1 < share < 0.3
    splits: dict[tuple[str, ...], set[str]] = {}
    for scene in SCENES:
        splits.setdefault(scene.combination, set()).add(scene.split)
    assert all(len(found) == 1 for found in splits.values())
    assert all(scene.split == "train" for scene in SCENES if len(scene.objects) == 1)


def test_captions_can_be_read_back() -> None:
    for index, scene in enumerate(SCENES[:1000]):
        caption = caption_scene(scene, generator(1, "test", index))
        assert read_caption(caption) == Counter(item.shape for item in scene.objects)
    assert read_caption("a photograph of nothing") is None
    assert read_caption("Two Circles and a star") == Counter(circle=2, star=1)


def test_captions_leave_colours_open_and_vary_their_wording() -> None:
    captions = [scene_of(1, index)[1] for index in range(1000)]
    coloured = np.mean([any(c in caption.split() for c in COLOURS) for caption in captions])
    assert 0.05 < coloured < 0.2
    assert len(set(captions)) > 300
    assert not any(word in caption for caption in captions for word in ("striped", "slate", "left"))


def test_a_circle_is_drawn_where_and_as_large_as_it_should_be() -> None:
    drawing = draw_scene(Scene((_object("circle"),), "centre", "paper"), 64)
    assert drawing.masks.sum() == pytest.approx(np.pi * (0.2 * 64) ** 2, rel=0.02)
    rows, columns = np.nonzero(drawing.masks[0])
    assert rows.mean() == pytest.approx(31.5, abs=0.5)
    assert columns.mean() == pytest.approx(31.5, abs=0.5)
    assert tuple(drawing.pixels[32, 32]) == (220, 40, 40)
    assert ellipse_truth(_object("circle")) == (0.5, 0.5, 0.2, 0.2, 0.0)


def test_edges_are_antialiased_and_any_size_shows_the_same_scene() -> None:
    scene = Scene((_object("star", rotation=10.0),), "centre", "slate")
    small, large = draw_scene(scene, 32).pixels, draw_scene(scene, 128).pixels
    assert len(np.unique(small.reshape(-1, 3), axis=0)) > 10
    shrunk = large.reshape(32, 4, 32, 4, 3).mean((1, 3))
    assert np.abs(shrunk - small).mean() < 2.0


def test_later_objects_cover_earlier_ones() -> None:
    below, above = _object("square"), _object("circle", x=0.6, colour="blue")
    drawing = draw_scene(Scene((below, above), "row", "paper"), 64)
    assert not (drawing.masks[0] & drawing.masks[1]).any()
    assert 0.2 < drawing.visible[0] < 0.8
    assert drawing.visible[1] == 1.0


def test_rotation_turns_the_oval_as_its_ellipse_says() -> None:
    item = _object("oval", rotation=30.0)
    points = outline(item) - 0.5
    theta = ellipse_truth(item)[4]
    axis = np.array([np.cos(np.deg2rad(theta)), np.sin(np.deg2rad(theta))])
    farthest = points[np.argmax(np.linalg.norm(points, axis=1))]
    assert abs(farthest @ axis) == pytest.approx(np.linalg.norm(farthest), rel=1e-3)


def test_masks_survive_run_lengths() -> None:
    rng = np.random.default_rng(0)
    for mask in (np.zeros((8, 8), bool), np.ones((8, 8), bool), rng.random((8, 8)) < 0.5):
        assert np.array_equal(mask_from_runs(run_lengths(mask), 8), mask)


def test_records_hold_the_truth_that_their_pixels_show() -> None:
    record = make_record(3, 11, 64)
    scene, caption = scene_of(3, 11)
    assert record.caption == caption
    assert np.array_equal(record.pixels, draw_scene(scene, 64).pixels)
    for item, truth in zip(scene.objects, record.meta["truth"]["objects"], strict=True):
        assert truth["shape"] == item.shape
        rows, columns = np.nonzero(mask_from_runs(truth["mask"], 64))
        x1, y1, x2, y2 = truth["box"]
        assert (columns.min() / 64, rows.min() / 64) == (x1, y1)
        assert ((columns.max() + 1) / 64, (rows.max() + 1) / 64) == (x2, y2)
    assert json.loads(json.dumps(record.meta)) == json.loads(json.dumps(record.meta))


def test_shards_hold_equal_scenes_whatever_their_size(workspace, tmp_path) -> None:
    from pipelines.workspace.workspace import Workspace

    other = Workspace.init(tmp_path / "other")
    summary = write_scenes(workspace, 25, seed=5, shard_size=10)
    assert (summary.shards, summary.ok, summary.failed) == (3, 25, 0)
    write_scenes(other, 25, seed=5, shard_size=25)
    rows = [list(read_records(path)) for path in workspace.data_shards()]
    joined = [record for shard in rows for record in shard]
    assert joined == list(read_records(other.data_shards()[0]))
    assert decode_image(joined[0].image).shape == (64, 64, 3)


def test_shards_have_equal_bytes_whatever_the_number_of_workers(workspace, tmp_path) -> None:
    from pipelines.workspace.workspace import Workspace

    other = Workspace.init(tmp_path / "other")
    one = write_scenes(workspace, 34, seed=5, shard_size=25)
    assert write_scenes(other, 34, seed=5, shard_size=25, workers=2) == one
    names = [path.name for path in sorted(workspace.data.iterdir())]
    assert names == [path.name for path in sorted(other.data.iterdir())]
    assert len(names) == 6
    for name in names:
        assert (workspace.data / name).read_bytes() == (other.data / name).read_bytes()


def test_scenes_are_drawn_by_several_processes(tmp_path, invoke) -> None:
    invoke("init", str(tmp_path / "ws"))
    place = ["--workspace", str(tmp_path / "ws")]
    invoke("data", "scenes", "--n", "4", "--workers", "2", *place)
    assert "--workers" in invoke("data", "scenes", "--n", "4", "--workers", "0", *place, code=2).err


def test_writing_again_skips_and_other_options_are_refused(workspace) -> None:
    write_scenes(workspace, 20, seed=5, shard_size=10)
    assert write_scenes(workspace, 30, seed=5, shard_size=10).skipped == 2
    with pytest.raises(KaleidoError) as caught:
        write_scenes(workspace, 30, seed=6, shard_size=10)
    assert caught.value.code == "would-overwrite"
    replaced = write_scenes(workspace, 30, seed=6, shard_size=10, overwrite=True)
    assert (replaced.shards, replaced.skipped) == (3, 0)


def test_hard_scenes_have_more_of_everything() -> None:
    scenes = [scene_of(1, index, hard=True)[0] for index in range(200)]
    assert max(len(scene.objects) for scene in scenes) == 6
    assert max(abs(item.rotation) for scene in scenes for item in scene.objects) > 150
    assert draw_scene(scenes[0], 64).pixels.shape == (64, 64, 3)

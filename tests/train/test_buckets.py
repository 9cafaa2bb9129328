"""Pictures of several shapes: cropped to their bucket, with z moved along."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from pipelines.core.errors import KaleidoError
from pipelines.core.progress import SILENT
from pipelines.core.record import Record
from pipelines.core.stage import Ok, Stage, StageSpec
from pipelines.engines.local import LocalEngine
from pipelines.engines.run import run_stages
from pipelines.latents.tokens import Tokens
from pipelines.models.diffusion import Diffusion
from pipelines.models.pixels import to_pixels
from pipelines.models.prior import Prior
from pipelines.sample.bundle import load_bundle
from pipelines.sample.draw import draw
from pipelines.train.diffusion import DiffusionTask, train_diffusion
from pipelines.train.pictures import arrange, read_pictures
from pipelines.train.prior import train_prior
from pipelines.train.stream import RecordStream
from pipelines.workspace.settings import SampleSettings
from tests.conftest import Told
from tests.train.conftest import adapt
from tests.train.photographs import SIZES, write_photographs
from tests.train.stopper import Stopper


class Ids(Stage):
    """Gives every picture the same visual tokens."""

    spec = StageSpec("ids", 1, "tokens", options={"tokenizer": "x"})

    def __call__(self, records):
        return [Ok(Tokens(1, 1, 8, (3,))) for _ in records]


@pytest.fixture
def photographs(workspace):
    return write_photographs(workspace)


def task_of(workspace) -> DiffusionTask:
    settings = workspace.settings.diffusion
    stream = RecordStream(workspace, settings.z_kinds, settings.seed)
    arrange(stream, settings, SILENT, settings.patch_size)
    model = Diffusion.load(workspace.models("diffusion"))
    prior = Prior.load(workspace.models("prior"))
    return DiffusionTask(model, prior, stream, 0.1, 2, 0.1, settings.seed)


def cropped(task: DiffusionTask, start: int) -> tuple[np.ndarray, list[Record]]:
    images, records = read_pictures(task._stream, 0, start, 6, encoded=False)
    return to_pixels(images), records


@pytest.fixture
def trained_on_shapes(photographs):
    train_prior(photographs)
    train_diffusion(photographs)
    return photographs


def test_boxes_are_where_the_squares_are_in_every_batch(trained_on_shapes):
    task = task_of(trained_on_shapes)
    shapes = set()
    for start in range(0, 120, 6):
        images, records = cropped(task, start)
        assert images.shape[0] == 6
        shapes.add(images.shape[1:3])
        for pixels, record in zip(images, records, strict=True):
            dark = pixels[..., 0] < 90
            if "boxes" not in record.latents:
                assert dark.mean() < 0.06  # less than a quarter of the square
                continue
            (box,) = record.latents["boxes"].items
            height, width = dark.shape
            x, y = dark.any(0).nonzero()[0], dark.any(1).nonzero()[0]
            found = (x[0] / width, y[0] / height, (x[-1] + 1) / width, (y[-1] + 1) / height)
            edges = np.array([box.x1, box.y1, box.x2, box.y2]) / 1000
            assert np.abs(found - edges).max() < 1.5 / min(width, height)
    assert shapes == {(16, 16), (12, 20), (20, 12)}


def test_batches_depend_on_their_position_alone(trained_on_shapes):
    """So do their parts, whatever the size of a micro-batch."""
    whole = task_of(trained_on_shapes).batch(12, 6)
    task = task_of(trained_on_shapes)
    for start, count in ((14, 2), (12, 1), (12, 6), (17, 1)):
        part = task.batch(start, count)
        rows = slice(start - 12, start - 12 + count)
        assert torch.equal(part.images, whole.images[rows])
    assert task.keys(12, 6) == task_of(trained_on_shapes).keys(12, 6)


def test_where_the_cut_lies_changes_from_epoch_to_epoch(trained_on_shapes):
    task = task_of(trained_on_shapes)
    seen: dict[str, set[bytes]] = {}
    for start in range(0, 240, 6):
        images, records = cropped(task, start)
        for pixels, record in zip(images, records, strict=True):
            seen.setdefault(record.key, set()).add(pixels.tobytes())
    longest = [key for key in seen if SIZES[int(key[1:]) % len(SIZES)] == (100, 30)]
    whole = [key for key in seen if SIZES[int(key[1:]) % len(SIZES)] == (48, 48)]
    assert min(len(seen[key]) for key in longest) > 1
    assert all(len(seen[key]) == 1 for key in whole)


def test_a_model_draws_the_shapes_that_it_was_trained_on(trained_on_shapes):
    model = Diffusion.load(trained_on_shapes.models("diffusion"))
    assert model.shapes[0] == (12, 20) and set(model.shapes) == {(16, 16), (12, 20), (20, 12)}
    bundle = load_bundle(trained_on_shapes)
    options = SampleSettings(n=2, cfg=2.0, steps=2)
    for size, shape in (("", (12, 20, 3)), ("12x20", (20, 12, 3)), ("16x16", (16, 16, 3))):
        drawn = list(draw(bundle, "a dark square", replace(options, size=size)))
        assert [item.pixels.shape for item in drawn] == [shape] * 2
    with pytest.raises(KaleidoError) as caught:
        next(draw(bundle, "a dark square", replace(options, size="32x32")))
    assert caught.value.code == "bad-option" and "20x12" in caught.value.hint


def test_a_run_on_shapes_goes_on_where_it_stopped(trained_on_shapes, monkeypatch):
    """It comes to the same weights, and with another largest ratio it is another run."""
    monkeypatch.setattr("pipelines.train.loop.CHECKPOINT_SECONDS", 0.0)
    whole = Diffusion.load(trained_on_shapes.models("diffusion")).state_dict()
    with pytest.raises(KeyboardInterrupt):
        train_diffusion(trained_on_shapes, restart=True, progress=Stopper(3))
    with pytest.raises(KaleidoError) as caught:
        train_diffusion(adapt(trained_on_shapes, diffusion__aspect=1.3))
    assert caught.value.code == "model-mismatch"
    assert train_diffusion(trained_on_shapes).resumed_at == 3
    again = Diffusion.load(trained_on_shapes.models("diffusion")).state_dict()
    assert all(torch.equal(whole[name], again[name]) for name in whole)


def test_one_shape_alone(photographs):
    train_prior(photographs)
    squares = adapt(photographs, diffusion__aspect=1.0, diffusion__steps=1)
    train_diffusion(squares)
    assert Diffusion.load(squares.models("diffusion")).shapes == ((16, 16),)


def test_what_is_enlarged_is_said(photographs):
    progress = Told()
    large = adapt(photographs, diffusion__image_size=64).settings.diffusion
    stream = RecordStream(photographs, ("boxes",), 0)
    arrange(stream, large, progress, large.patch_size)
    assert any("60 of 60 pictures are smaller" in line for line in progress.said)


def test_visual_tokens_are_refused_where_pictures_would_be_cropped(photographs):
    run_stages(photographs, [Ids()], LocalEngine(1))
    stream = RecordStream(photographs, ("tokens",), 0)
    settings = replace(photographs.settings.diffusion, z_kinds=("tokens",))
    with pytest.raises(KaleidoError) as caught:
        arrange(stream, settings, SILENT, settings.patch_size)
    assert caught.value.code == "model-mismatch"

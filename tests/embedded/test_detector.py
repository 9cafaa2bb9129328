"""The detector's recipe, and the detector that it made."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from safetensors import safe_open

from pipelines.embedded.paths import embedded_path
from pipelines.extract.detectors.base import Detections
from pipelines.extract.detectors.yolo import YoloBackend
from pipelines.scenes.factors import SHAPES
from recipes import train_detector
from recipes.examples_detector import Target, draw_example, make_batch
from recipes.measure_detector import average_precision, match, measure
from recipes.train_detector import export, learn, new_model


def test_a_stopped_training_goes_on_to_the_same_weights(tmp_path, monkeypatch):
    monkeypatch.setattr(train_detector, "BATCH", 4)
    monkeypatch.setattr("pipelines.train.loop.CHECKPOINT_SECONDS", 0.0)
    whole = learn(tmp_path / "whole", images=12, seed=0)

    def stop_at_one(seed, first, count):
        if first == 1 * 4:
            raise KeyboardInterrupt
        return make_batch(seed, first, count)

    with monkeypatch.context() as patch:
        patch.setattr(train_detector, "make_batch", stop_at_one)
        with pytest.raises(KeyboardInterrupt):
            learn(tmp_path / "stopped", images=12, seed=0)
    resumed = learn(tmp_path / "stopped", images=12, seed=0)
    for name, value in whole.state_dict().items():
        assert torch.equal(resumed.state_dict()[name], value), name


def test_an_exported_network_finds_what_the_network_finds(tmp_path):
    model = new_model().eval()
    export(tmp_path, model, images=0, seed=0)
    backend = YoloBackend(tmp_path, confidence=0.0, max_detections=8)
    model.end2end = True
    image = torch.rand(1, 3, 96, 96, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        (ours, _), _ = model(image)
        (shipped, _), _ = backend._model(image)
    torch.testing.assert_close(shipped[0, :, 4].max(), ours[0, :, 4].max(), rtol=0.02, atol=1e-3)


def test_batches_depend_on_the_position_alone():
    one, two = make_batch(0, 64, 4), make_batch(0, 64, 4)
    for name, value in one.items():
        torch.testing.assert_close(two[name], value)
    assert not torch.equal(make_batch(0, 96, 4)["img"], one["img"])


def test_targets_agree_with_each_other():
    batch = make_batch(3, 0, 8)
    for image in range(8):
        own = batch["batch_idx"] == image
        for index, (label, box) in enumerate(
            zip(batch["cls"][own, 0], batch["bboxes"][own], strict=True)
        ):
            rows, columns = torch.nonzero(batch["masks"][image] == index + 1, as_tuple=True)
            edges = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
            x, y, width, height = (64 * box).tolist()
            expected = [x - width / 2, y - height / 2, x + width / 2, y + height / 2]
            assert [int(edge) for edge in edges] == pytest.approx(expected, abs=1e-3)
            assert (batch["sem_masks"][image][rows, columns] == int(label)).all()


def test_only_train_combinations_are_drawn_for_training():
    seen = {
        (split, tuple(sorted(target.label for target in draw_example(0, "t", i, split)[1])))
        for split in ("train", "heldout")
        for i in range(60)
    }
    train = {labels for split, labels in seen if split == "train"}
    held_out = {labels for split, labels in seen if split == "heldout" and len(labels) > 1}
    assert not {labels for labels in train if len(labels) > 1} & held_out


@pytest.mark.parametrize(
    ("hits", "truths", "expected"),
    [
        ([True, True], 2, 1.0),
        ([], 3, 0.0),
        ([False, True], 1, 0.5),
        ([True, False, True], 4, 0.25 + 0.25 * 2 / 3),
    ],
)
def test_average_precision_by_hand(hits, truths, expected):
    assert average_precision(hits, truths) == pytest.approx(expected)


def test_each_target_is_hit_once_and_only_by_its_class():
    mask = np.zeros((64, 64), bool)
    mask[10:20, 10:20] = True
    target = Target(SHAPES.index("star"), (10, 10, 20, 20), mask)
    box = [10.0, 10.0, 20.0, 19.0]
    found = Detections(
        boxes=np.array([box, box, box], np.float32),
        scores=np.array([0.9, 0.8, 0.7], np.float32),
        labels=("heart", "star", "star"),
        masks=np.stack([mask.astype(np.float32)] * 3),
    )
    assert match(found, [target]) == ([False, True, False], [1.0])


def test_the_shipped_detector_is_as_its_card_says():
    folder = embedded_path("detector")
    config = json.loads((folder / "config.json").read_text("utf-8"))
    assert tuple(config["names"]) == SHAPES
    assert config["results"]["box_map50"] >= 0.95
    assert "AGPL-3.0" in (folder / "LICENSE").read_text("utf-8")
    with safe_open(folder / "model.safetensors", "pt") as file:
        dtypes = {file.get_slice(name).get_dtype() for name in file.keys()}  # noqa: SIM118
    assert dtypes <= {"F16", "I64"}
    results = measure(YoloBackend(folder, 0.01, 50), seed=1, scenes=96)
    assert results["box_map50"] >= 0.93
    assert results["mask_iou"] >= 0.93

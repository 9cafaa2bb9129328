"""The captioner's recipe: what it draws, learns and measures; and the shipped captioner."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from pipelines.embedded.paths import embedded_path
from pipelines.extract.captioners.tiny import Captioner, build_captioner
from pipelines.models.pixels import to_tensor
from pipelines.scenes.descriptions import read_description
from pipelines.train.noise import Noise
from recipes import train_captioner


class Told:
    """A captioner that says what it was told to."""

    def __init__(self, texts):
        self.texts = iter(texts)

    def describe(self, images):
        return [next(self.texts) for _ in images]


def truths(count):
    return [
        train_captioner.draw_example(0, "captioner-heldout", index, "heldout")[1]
        for index in range(count)
    ]


def test_the_truth_scores_one_in_any_wording():
    found = train_captioner.measure(Told(truths(20)), 0, 20)
    assert set(found.values()) == {1.0}
    assert {name.removeprefix("F1 of ") for name in found} >= {"all", "colour", "place", "shape"}


def test_what_is_wrong_missing_or_made_up_costs():
    right = truths(20)
    grey = [text.replace("red", "blue") for text in right]
    found = train_captioner.measure(Told(grey), 0, 20)
    assert found["F1 of colour"] < 1.0 == found["F1 of shape"]
    assert found["F1 of colour"] < found["F1 of all"] < 1.0
    nothing = train_captioner.measure(Told(["a picture"] * 20), 0, 20)
    assert nothing["F1 of all"] == nothing["exact"] == 0.0
    assert nothing["distinct"] == 1 / 20


def test_held_out_combinations_are_not_trained_on():
    texts = [train_captioner.draw_example(0, "captioner", index)[1] for index in range(200)]
    seen = {tuple(sorted(_shapes(text))) for text in texts}
    assert not seen & {tuple(sorted(_shapes(text))) for text in truths(200)}


def _shapes(text):
    return [
        fact[1]
        for fact, n in read_description(text).items()
        if fact[0] == "shape"
        for _ in range(n)
    ]


def test_the_recipe_runs_and_writes_a_card(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(train_captioner, "BATCH", 4)
    monkeypatch.setattr(train_captioner, "HELD_OUT", 4)
    monkeypatch.setattr(train_captioner, "VOCABULARY_SCENES", 50)
    out = tmp_path / "captioner"
    train_captioner.main(["--out", str(out), "--images", "8"])
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert 0.0 <= found["F1 of all"] <= 1.0
    assert "4 held-out scenes: F1 of all" in (out / "README.md").read_text("utf-8")
    assert {path.name for path in tmp_path.iterdir()} == {"captioner", "log.jsonl"}
    Captioner.load(out)


def test_a_batch_is_ready_for_the_device():
    texts = [train_captioner.draw_example(0, "captioner", index)[1] for index in range(3)]
    captioner = build_captioner(texts, train_captioner.SIZE, width=16, layers=1, heads=2)
    task = train_captioner.CaptionerTask(captioner, 0)
    images, ids = batch = task.batch(0, 3)
    assert (images.shape, images.device.type) == ((3, 3, 64, 64), "cpu")
    assert torch.equal(ids, captioner.tokenize(texts))
    assert torch.equal(
        task.loss(batch, Noise(0, "test", range(len(images)))), captioner.loss(images, ids)
    )


@pytest.fixture(scope="module")
def shipped():
    return Captioner.load(embedded_path("captioner"))


def test_the_shipped_captioner_reads_held_out_scenes(shipped):
    found = train_captioner.measure(shipped, 7, 60)
    assert found["F1 of all"] >= 0.9


def test_another_picture_gives_another_text(shipped):
    pixels, _ = train_captioner.draw_example(3, "captioner-heldout", 0, "heldout")
    pictures = np.stack([pixels, pixels[:, ::-1], np.full_like(pixels, 255)])
    assert len(set(shipped.describe(to_tensor(pictures)))) == 3


def test_a_picture_is_described_alike_whatever_its_batch(shipped):
    pictures = [
        train_captioner.draw_example(4, "captioner-heldout", index, "heldout")[0]
        for index in range(8)
    ]
    images = to_tensor(np.stack(pictures))
    with torch.inference_mode():
        assert shipped.describe(images) == [shipped.describe(image[None])[0] for image in images]

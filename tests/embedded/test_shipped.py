"""The shipped models belong together, are as small as promised, and do what their cards say."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from safetensors import safe_open

from pipelines.core.files import sha256_file
from pipelines.embedded.paths import ROOT, embedded_path
from pipelines.evaluate.adherence.boxes import agrees, box_adherence, parses
from pipelines.models.tokenizer import Tokenizer
from pipelines.sample.bundle import Bundle, load_bundle
from pipelines.sample.draw import draw
from pipelines.scenes.judge import Judge
from pipelines.scenes.reference import asked_shapes
from pipelines.scenes.shipped_data import heldout_scenes
from pipelines.train.tokenizer import measure
from pipelines.workspace.settings import SampleSettings

MODELS = ("detector", "judge", "captioner", "tokenizer", "prior", "diffusion", "baseline")
LARGEST = 24 * 2**20
"""Bytes of all weights together: they stay in git for ever."""

CAPTION = "two circles and a star"


@pytest.fixture(scope="module")
def kaleido() -> Bundle:
    return load_bundle(None)


def test_weights_are_small_and_half_precision():
    files = sorted(ROOT.rglob("*.safetensors"))
    assert sum(path.stat().st_size for path in files) <= LARGEST
    for path in files:
        with safe_open(path, "pt") as weights:
            kinds = {weights.get_tensor(name).dtype for name in weights.keys()}  # noqa: SIM118
        assert kinds <= {torch.float16, torch.int64}, path


@pytest.mark.parametrize("name", MODELS)
def test_a_card_names_the_weights_that_lie_beside_it(name):
    folder = embedded_path(name)
    card = (folder / "README.md").read_text("utf-8")
    assert "SPDX-License-Identifier" in card
    for path in folder.rglob("*.safetensors"):
        assert sha256_file(path) in card


def test_the_tokenizer_draws_again_what_it_has_read():
    read = measure(Tokenizer.load(embedded_path("tokenizer")), list(heldout_scenes(64)))
    assert read["psnr"] > 26.0 and read["psnr_objects"] > 21.5
    assert read["codebook_used"] > 0.5


def test_models_belong_together(kaleido):
    baseline = load_bundle(None, baseline=True)
    assert (kaleido.source, baseline.source) == ("embedded", "embedded")
    assert baseline.z_kinds == () != kaleido.z_kinds
    assert baseline.diffusion.images_seen >= kaleido.diffusion.images_seen > 0
    shapes = [
        {name: value.shape for name, value in bundle.diffusion.state_dict().items()}
        for bundle in (kaleido, baseline)
    ]
    assert shapes[0] == shapes[1]


def test_z_parses_and_agrees_and_the_picture_follows_it(kaleido):
    options = SampleSettings(n=16, cfg=1.0, steps=20, seed=3)
    samples = list(draw(kaleido, CAPTION, options))
    texts = [sample.z for sample in samples]
    assert all(map(parses, texts))
    assert len(set(texts)) == len(texts)
    asked = asked_shapes(CAPTION)
    assert np.mean([agrees(text, asked) for text in texts]) >= 0.8
    verdicts = Judge.load(embedded_path("judge"))(np.stack([each.pixels for each in samples]))
    kept = box_adherence(texts, verdicts)["boxes"]
    assert kept > 0.55  # a floor: the card says how far it is from perfect
    assert kept > 2.0 * box_adherence([*texts[1:], *texts[:1]], verdicts)["boxes"]

"""Noise levels are shifted towards noise; the shift is recorded with the model."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch

from pipelines.latents.vocabulary import train_tokenizer
from pipelines.models.diffusion import Diffusion, build_diffusion, default_noise_shift
from pipelines.models.new_prior import build_prior
from pipelines.models.prior import Prior
from pipelines.workspace.settings import DiffusionSettings, PriorSettings

SETTINGS = DiffusionSettings(image_size=16, layers=1, heads=2, head_dim=8, pixel_channels=8)


@pytest.fixture(scope="module")
def prior() -> Prior:
    torch.manual_seed(0)
    settings = PriorSettings(d_model=16, d_ff=16, layers=1, heads=2, z_kinds=("boxes",))
    return build_prior(settings, train_tokenizer(["a red circle"], 1500), ("circle",))


@pytest.mark.parametrize("factor", [1.0, 2.1, 4.0])
def test_the_odds_of_noise_are_multiplied(prior, factor: float) -> None:
    model = build_diffusion(replace(SETTINGS, noise_shift=factor), prior, ("boxes",))
    time = torch.linspace(0.0, 1.0, 11)
    shifted = model.shift(time)
    assert shifted[0] == 0.0
    assert shifted[-1] == 1.0
    inner = slice(1, -1)
    torch.testing.assert_close(shifted[inner].logit().exp(), factor * time[inner].logit().exp())


@pytest.mark.parametrize(
    ("side", "factor"), [(16, 1.0), (32, 2.0), (64, 4.0), (128, 4.0), (256, 4.0), (1024, 16.0)]
)
def test_the_default_shift_grows_with_small_and_with_large_sides(side: int, factor: float) -> None:
    assert default_noise_shift(side) == factor


def test_by_default_the_last_of_thirty_steps_is_a_small_one(prior) -> None:
    model = build_diffusion(replace(SETTINGS, image_size=256), prior, ("boxes",))
    assert model.shift(torch.tensor(1.0 / 30.0)) < 0.13


def test_the_shift_is_saved_and_older_models_keep_theirs(prior, tmp_path) -> None:
    settings = replace(SETTINGS, image_size=256, noise_shift=3.0)
    build_diffusion(settings, prior, ("boxes",)).save(tmp_path)
    assert Diffusion.load(tmp_path).noise_shift == 3.0
    noted = json.loads((tmp_path / "kaleido.json").read_text())
    del noted["noise_shift"]
    (tmp_path / "kaleido.json").write_text(json.dumps(noted))
    assert Diffusion.load(tmp_path).noise_shift == 16.0

"""The nested U-Net: what it predicts, at which noise, and how large the paper's is."""

from __future__ import annotations

import pytest
import torch
from torch.nn.functional import avg_pool2d

from pipelines.models.conditioning import Conditioning
from pipelines.models.denoiser.nested import NestedUNet2DModel, scaled_level, scaled_noisy
from pipelines.models.diffusion import build_diffusion
from pipelines.models.shapes import smallest_step
from pipelines.workspace.config import override
from pipelines.workspace.presets import PRESETS
from pipelines.workspace.settings import Settings

TIME = torch.tensor([500.0, 900.0])


@pytest.fixture
def network() -> NestedUNet2DModel:
    """A tiny one for 32 pixels and 16, whose parts all do something."""
    torch.manual_seed(0)
    made = NestedUNet2DModel(32, (8, 16), (1, 1), (16, 24), (1, 1), (0, 1), 2, 12).eval()
    for name, parameter in made.named_parameters():
        if not parameter.any():
            torch.nn.init.normal_(parameter, std=0.1)
        assert parameter.any(), name
    return made


def _conditioning(seed: int = 0) -> Conditioning:
    rng = torch.Generator().manual_seed(seed)
    tokens, mask = torch.randn(2, 5, 12, generator=rng), torch.ones(2, 5)
    rects = torch.tensor([0.0, 0.0, 0.5, 0.5]).expand(2, 5, 4)
    return Conditioning(tokens, mask, rects, torch.zeros(2, 5, dtype=torch.bool))


def _noisy(side: int = 32) -> torch.Tensor:
    return torch.randn(2, 3, side, side, generator=torch.Generator().manual_seed(1))


@torch.inference_mode()
def test_it_predicts_both_resolutions_and_words(network) -> None:
    prepared = network.prepare(_conditioning())
    (full, small), words = network.predict_with_words(_noisy(), TIME, prepared)
    assert (full.shape, small.shape, words.shape) == ((2, 3, 32, 32), (2, 3, 16, 16), (2, 64, 12))
    assert (network.ratio, network.stride) == (2, 4)
    assert torch.equal(network(_noisy(), TIME, prepared), full)
    other = network.prepare(_conditioning(1))
    assert not torch.allclose(network(_noisy(), TIME, other), full)  # by way of the inner one
    wide = network.prepare(_conditioning(), (16, 64))
    assert network(torch.randn(2, 3, 16, 64), TIME, wide).shape == (2, 3, 16, 64)


@torch.inference_mode()
def test_the_inner_one_draws_alone(network) -> None:
    noisy, level = _noisy(), TIME / 1000.0
    prepared = network.prepare(_conditioning(), (16, 16))
    torch.nn.init.zeros_(network.enter.weight)
    torch.nn.init.zeros_(network.enter.bias)
    alone = network(scaled_noisy(noisy, level, 2), 1000.0 * scaled_level(level, 2), prepared)
    (_, small), _ = network.predict_with_words(noisy, TIME, network.prepare(_conditioning()))
    torch.testing.assert_close(alone, small)


def test_averages_of_noisy_images_are_noisy_averages() -> None:
    x, noise = torch.randn(2, 3, 8, 8), torch.randn(2, 3, 8, 8)
    level = torch.tensor([0.3, 0.9])
    at = level[:, None, None, None]
    found = scaled_noisy((1 - at) * x + at * noise, level, 4)
    low = scaled_level(level, 4)[:, None, None, None]
    # The mean of 16 values of unit noise has a deviation of a quarter.
    wanted = (1 - low) * avg_pool2d(x, 4) + low * 4 * avg_pool2d(noise, 4)
    torch.testing.assert_close(found, wanted)
    odds = scaled_level(level, 4) / (1 - scaled_level(level, 4))
    torch.testing.assert_close(odds, level / (1 - level) / 4)
    ends = torch.tensor([0.0, 1.0])
    assert torch.equal(scaled_level(ends, 4), ends) and torch.equal(scaled_level(level, 1), level)


@torch.inference_mode()
def test_padding_and_other_rows_have_no_effect(network) -> None:
    whole = network(_noisy(), TIME, network.prepare(_conditioning()))
    cut = _conditioning()
    cut.mask[:, 3:] = 0
    short = Conditioning(cut.tokens[:, :3], cut.mask[:, :3], cut.rects[:, :3], cut.names[:, :3])
    padded = network(_noisy(), TIME, network.prepare(cut))
    torch.testing.assert_close(padded, network(_noisy(), TIME, network.prepare(short)))
    assert not torch.allclose(padded, whole)
    twice = network.prepare(_conditioning()).repeat(2)
    again = network(_noisy().repeat(2, 1, 1, 1), TIME.repeat(2), twice)
    torch.testing.assert_close(again, torch.cat([whole, whole]))


@torch.inference_mode()
def test_a_saved_one_predicts_the_same(network, tmp_path) -> None:
    network.save_pretrained(tmp_path)
    loaded = NestedUNet2DModel.from_pretrained(tmp_path).eval()
    prepared = network.prepare(_conditioning())
    assert torch.equal(loaded(_noisy(), TIME, prepared), network(_noisy(), TIME, prepared))


def test_the_papers_has_about_half_a_billion_parameters() -> None:
    class Wide:
        width, identity = 2048, ""

    settings = override(Settings(), PRESETS["paper"].settings).diffusion
    with torch.device("meta"):
        model = build_diffusion(settings, Wide(), ("boxes",))
    assert isinstance(model.denoiser, NestedUNet2DModel)
    inner = 256 // model.denoiser.ratio
    assert (inner, inner >> 2, model.denoiser.stride) == (64, 16, smallest_step(settings))
    assert model.sizes == ((256, 256), (64, 64))
    parameters = sum(value.numel() for value in model.parameters())
    assert 0.45e9 < parameters < 0.55e9

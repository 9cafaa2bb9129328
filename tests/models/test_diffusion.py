"""Noise levels are shifted towards noise, the further the larger the image."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from pipelines.models.diffusion import Diffusion


@pytest.mark.parametrize(("side", "factor"), [(16, 1.0), (64, 4.0), (256, 16.0)])
def test_the_odds_of_noise_grow_with_the_side(side: int, factor: float) -> None:
    model = SimpleNamespace(image_size=side)
    time = torch.linspace(0.0, 1.0, 11)
    shifted = Diffusion.shift(model, time)
    assert shifted[0] == 0.0
    assert shifted[-1] == 1.0
    inner = slice(1, -1)
    torch.testing.assert_close(shifted[inner].logit().exp(), factor * time[inner].logit().exp())

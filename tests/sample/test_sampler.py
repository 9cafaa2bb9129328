"""Guidance and the flow sampler, against closed forms."""

from __future__ import annotations

import torch

from pipelines.models.conditioning import Conditioning
from pipelines.sample.sampler import draw_images, guide


class _Context:
    def null(self, count: int) -> Conditioning:
        return _conditioning(0.0, count)


class _Constant:
    """A model that always predicts its condition's value as the clean image."""

    image_size = 8
    context = _Context()

    def prepare(self, conditioning: Conditioning) -> Conditioning:
        return conditioning

    def shift(self, time: torch.Tensor) -> torch.Tensor:
        return time**0.5

    def __call__(
        self, noisy: torch.Tensor, sigma: torch.Tensor, context: Conditioning
    ) -> torch.Tensor:
        return context.tokens[..., None].expand_as(noisy)


def _conditioning(value: float, count: int) -> Conditioning:
    tokens = torch.full((count, 1, 1), value)
    mask = torch.ones(count, 1)
    return Conditioning(tokens, mask, torch.zeros(count, 1, 4), mask.bool())


def test_guidance_extrapolates() -> None:
    conditional, unconditional = torch.tensor([1.0]), torch.tensor([0.5])
    assert guide(conditional, unconditional, 1.0) == 1.0
    assert guide(conditional, unconditional, 3.0) == 2.0
    assert guide(conditional, unconditional, 0.0) == 0.5


def test_the_flow_ends_at_the_predicted_image() -> None:
    images = draw_images(_Constant(), _conditioning(0.5, 3), [1, 2, 3], cfg=1.0, steps=5)
    assert images.shape == (3, 8, 8, 3)
    assert (images == round(1.5 * 127.5)).all()


def test_guidance_ends_at_a_noise_level() -> None:
    given = _conditioning(0.2, 2)
    for end, value in ((0.0, 1.6), (1.0, 1.2)):  # the last step decides: it is guided, or it is not
        images = draw_images(_Constant(), given, [1, 2], cfg=3.0, steps=4, cfg_end=end)
        assert (abs(images.astype(int) - round(value * 127.5)) <= 1).all()
    unguided = draw_images(_Constant(), given, [1, 2], cfg=1.0, steps=4)
    ended = draw_images(_Constant(), given, [1, 2], cfg=3.0, steps=4, cfg_end=0.6)
    assert (ended == unguided).all()


def test_guidance_scales_the_condition_against_null() -> None:
    images = draw_images(_Constant(), _conditioning(0.2, 2), [1, 2], cfg=3.0, steps=4)
    assert (abs(images.astype(int) - round(1.6 * 127.5)) <= 1).all()

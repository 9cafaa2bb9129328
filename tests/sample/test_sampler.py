"""The flow sampler against closed forms, and guidance against its formula computed by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from pipelines.core.errors import KaleidoError
from pipelines.models.conditioning import Conditioning
from pipelines.models.guidance import guide
from pipelines.models.pixels import to_pixels
from pipelines.sample.integrate import integrate
from pipelines.sample.sampler import draw_images
from pipelines.workspace.settings import SampleSettings

FULL = SampleSettings(cfg=3.0, cfg_begin=1.0, cfg_end=0.0, steps=4)


class _Context:
    def null(self, count: int) -> Conditioning:
        return _conditioning(0.0, count)


class _Affine:
    """A model that predicts its condition's value plus a share of the noisy image."""

    sizes, bounded, denoiser = ((8, 8), (4, 12)), True, None
    context = _Context()

    def __init__(self, share: float = 0.0) -> None:
        self.share = share

    def prepare(self, conditioning: Conditioning, images: torch.Tensor) -> Conditioning:
        return conditioning

    def canvas(self, shape: tuple[int, int]) -> tuple[int, int, int]:
        return 3, *shape

    def pictures(self, drawn: torch.Tensor) -> np.ndarray:
        return to_pixels(drawn)

    def shift(self, time: torch.Tensor) -> torch.Tensor:
        return time**0.5

    def __call__(
        self, noisy: torch.Tensor, sigma: torch.Tensor, prepared: Conditioning
    ) -> torch.Tensor:
        return prepared.tokens[..., None] + self.share * noisy


def _conditioning(value: float, count: int) -> Conditioning:
    tokens = torch.full((count, 1, 1), value)
    mask = torch.ones(count, 1)
    return Conditioning(tokens, mask, torch.zeros(count, 1, 4), mask.bool())


def _by_hand(value: float, share: float, seed: int, settings: SampleSettings) -> np.ndarray:
    """Euler's method with guided velocities, v = (x − x̂) / σ, written out."""
    noise = torch.randn(3, 8, 8, generator=torch.Generator().manual_seed(seed))
    x = noise.double().numpy()
    levels = np.sqrt(np.linspace(1.0, 0.0, settings.steps + 1))
    for level, following in zip(levels[:-1], levels[1:], strict=True):
        with_z, without = value + share * x, share * x
        clean = with_z
        if settings.cfg_end <= level <= settings.cfg_begin and settings.cfg != 1.0:
            clean = np.clip(settings.cfg * (with_z - without) + without, -1.0, 1.0)
        x = x - (level - following) * (x - clean) / level
    return np.round((np.clip(x, -1.0, 1.0) + 1.0) * 127.5).transpose(1, 2, 0)


def _apart(images: np.ndarray, seeds: list[int], value: float, share: float, settings) -> float:
    expected = np.stack([_by_hand(value, share, seed, settings) for seed in seeds])
    return float(np.abs(images - expected).max())


def test_guidance_extrapolates() -> None:
    conditional, unconditional = torch.tensor([1.0]), torch.tensor([0.5])
    assert guide(conditional, unconditional, 1.0) == 1.0
    assert guide(conditional, unconditional, 3.0) == 2.0
    assert guide(conditional, unconditional, 0.0) == 0.5


@pytest.mark.parametrize("spread", [0.5, 2.0])
def test_the_integrator_converges_to_the_flow_of_a_gaussian_in_first_order(spread: float) -> None:
    """For data N(m, s²) the flow is x_σ = (1 − σ) m + √((1 − σ)² s² + σ²) ε."""
    mean = 0.3
    noise = torch.randn(64, 1, 1, 1, generator=torch.Generator().manual_seed(0)).double()

    def predict(x: torch.Tensor, level: torch.Tensor) -> torch.Tensor:
        clear = 1.0 - level
        gain = clear * spread**2 / (clear**2 * spread**2 + level**2)
        return mean + gain * (x - clear * mean)

    def error(steps: int, last: float = 0.0) -> float:
        levels = torch.linspace(1.0, last, steps + 1, dtype=torch.float64)
        exact = (1.0 - last) * mean + ((1.0 - last) ** 2 * spread**2 + last**2) ** 0.5 * noise
        return float((integrate(predict, noise, levels) - exact).abs().mean())

    for last in (0.0, 0.4):
        errors = [error(steps, last) for steps in (50, 100, 200)]
        assert errors[-1] < 0.02
        for coarse, fine in zip(errors[:-1], errors[1:], strict=True):
            assert 1.8 < coarse / fine < 2.2


def test_the_second_order_method_is_of_second_order() -> None:
    """On the flow of a Gaussian; where regimes change at every step, it is Euler's method."""
    mean, spread, last = 0.3, 0.5, 0.1
    noise = torch.randn(64, 1, 1, 1, generator=torch.Generator().manual_seed(0)).double()

    def predict(x: torch.Tensor, level: torch.Tensor) -> torch.Tensor:
        clear = 1.0 - level
        gain = clear * spread**2 / (clear**2 * spread**2 + level**2)
        return mean + gain * (x - clear * mean)

    def drawn(steps: int, regimes: list[bool] | None) -> torch.Tensor:
        levels = torch.linspace(1.0, last, steps + 1, dtype=torch.float64)
        return integrate(predict, noise, levels, regimes=regimes)

    exact = (1.0 - last) * mean + ((1.0 - last) ** 2 * spread**2 + last**2) ** 0.5 * noise
    errors = [float((drawn(n, [True] * (n + 1)) - exact).abs().mean()) for n in (40, 80, 160)]
    for coarse, fine in zip(errors[:-1], errors[1:], strict=True):
        assert 3.4 < coarse / fine < 4.6
    assert errors[0] < 0.1 * float((drawn(40, None) - exact).abs().mean())
    assert torch.equal(drawn(40, [n % 2 == 0 for n in range(41)]), drawn(40, None))


class _Curved(_Affine):
    """A model whose prediction bends, so that two methods of different order come apart."""

    def __call__(
        self, noisy: torch.Tensor, sigma: torch.Tensor, prepared: Conditioning
    ) -> torch.Tensor:
        return prepared.tokens[..., None] + self.share * (4 * noisy).sin()


def _second_order_by_hand(value: float, share: float, seed: int, settings) -> np.ndarray:
    """DPM-Solver++(2M) as in the paper, with α = 1 − σ, and first order where guidance changes."""
    x = torch.randn(3, 8, 8, generator=torch.Generator().manual_seed(seed)).double().numpy()
    sigma = np.sqrt(np.linspace(1.0, 0.0, settings.steps + 1))
    with np.errstate(divide="ignore"):
        lam = np.log((1.0 - sigma) / sigma)
    guided = (settings.cfg_end <= sigma) & (sigma <= settings.cfg_begin) & (settings.cfg != 1.0)
    last = None
    for t in range(settings.steps):
        with_z, without = value + share * np.sin(4 * x), share * np.sin(4 * x)
        clean = with_z
        if guided[t]:
            clean = np.clip(settings.cfg * (with_z - without) + without, -1.0, 1.0)
        aim, h = clean, lam[t + 1] - lam[t]
        if t > 1 and t + 1 < settings.steps and guided[t] == guided[t - 1]:
            r = (lam[t] - lam[t - 1]) / h
            aim = (1 + 1 / (2 * r)) * clean - 1 / (2 * r) * last
        alpha = 1.0 - sigma[t + 1]
        x = (
            sigma[t + 1] / sigma[t] * x - alpha * np.expm1(-h) * aim
            if t
            else (sigma[1] * x + (1 - sigma[1]) * aim)
        )
        last = clean
    return np.round((np.clip(x, -1.0, 1.0) + 1.0) * 127.5).transpose(1, 2, 0)


@pytest.mark.parametrize("changes", [{"cfg": 1.0}, {}, {"cfg_end": 0.6, "steps": 9}])
def test_the_sampler_of_second_order_follows_its_paper(changes) -> None:
    settings = replace(FULL, steps=7, sampler="dpm++")
    settings, seeds = replace(settings, **changes), [5, 6]
    images = draw_images(_Curved(0.9), _conditioning(0.2, 2), seeds, settings)
    expected = np.stack([_second_order_by_hand(0.2, 0.9, seed, settings) for seed in seeds])
    assert np.abs(images - expected).max() <= 1
    euler = draw_images(
        _Curved(0.9), _conditioning(0.2, 2), seeds, replace(settings, sampler="euler")
    )
    assert np.abs(images.astype(int) - euler).max() > 3


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"cfg": 1.0},
        {"cfg": 7.5},  # the clamp matters
        {"cfg_end": 0.6},
        {"cfg_begin": 0.8},
        {"cfg": 7.5, "cfg_begin": 0.9, "cfg_end": 0.6},
        {"cfg": 0.5, "steps": 7},
    ],
)
def test_sampling_follows_the_formula_of_guidance(changes) -> None:
    settings, seeds = replace(FULL, **changes), [5, 6]
    for value in (0.2, -0.2):  # the clamp has two sides
        images = draw_images(_Affine(0.4), _conditioning(value, 2), seeds, settings)
        assert _apart(images, seeds, value, 0.4, settings) <= 1
        if settings != FULL:
            assert _apart(images, seeds, value, 0.4, FULL) > 3


def test_the_flow_ends_at_the_predicted_image() -> None:
    settings = replace(FULL, cfg=1.0, steps=5)
    images = draw_images(_Affine(), _conditioning(0.5, 3), [1, 2, 3], settings)
    assert images.shape == (3, 8, 8, 3)
    assert (images == round(1.5 * 127.5)).all()


def test_by_default_guidance_begins_at_pure_noise() -> None:
    settings = replace(FULL, cfg_end=1.0)  # only the first level is guided
    assert SampleSettings().cfg_begin == 1.0
    images = draw_images(_Affine(0.4), _conditioning(0.2, 1), [5], settings)
    assert _apart(images, [5], 0.2, 0.4, settings) <= 1
    assert _apart(images, [5], 0.2, 0.4, replace(settings, cfg=1.0)) > 1


def test_an_interval_without_a_level_is_refused() -> None:
    settings = replace(FULL, cfg_begin=0.3, cfg_end=0.5)
    with pytest.raises(KaleidoError) as caught:
        draw_images(_Affine(), _conditioning(0.2, 1), [1], settings)
    assert caught.value.code == "bad-setting"
    assert caught.value.what == "sample.cfg_begin = 0.3"

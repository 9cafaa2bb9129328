"""The loop that samples every base, against closed forms."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import diffusers
import pytest
import torch

from pipelines.bases.loop import Guidance, decode, denoise, encode, noise_of
from pipelines.core.errors import KaleidoError

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
"""Schedulers of diffusers hand tensors to NumPy in an older way."""


class Constant:
    """A base whose denoiser says of each row what its condition holds, and records its calls."""

    device = torch.device("cpu")

    def __init__(self, predicts: str, scheduler: Any, dtype: torch.dtype = torch.float32) -> None:
        self.denoiser = SimpleNamespace(dtype=dtype)
        self.pipe = SimpleNamespace(scheduler=scheduler)
        self.family = SimpleNamespace(
            predicts=predicts, timesteps=self._timesteps, rescale=lambda guided, plain: guided
        )
        self.seen: list[torch.Tensor] = []
        self.times: list[list[float]] = []

    def _timesteps(self, pipe: Any, steps: int, shape: Any) -> torch.Tensor:
        pipe.scheduler.set_timesteps(steps)
        return pipe.scheduler.timesteps

    def predict(self, x: torch.Tensor, time: torch.Tensor, condition: Any) -> torch.Tensor:
        self.seen.append(x)
        self.times.append(time.tolist())
        return condition["says"].expand(x.shape).to(x.dtype)


def says(*values: float) -> dict[str, torch.Tensor]:
    return {"says": torch.tensor(values)[:, None, None, None]}


NOISE = torch.tensor([1.0, -2.0])[:, None, None, None].expand(2, 1, 2, 2)


@pytest.mark.parametrize(
    ("cfg", "begin", "end", "guided"),
    [(1, 1.0, 0.0, []), (3, 1.0, 0.0, [0, 1, 2, 3]), (3, 2 / 3, 1 / 3, [1, 2]), (3, 0.5, 0.1, [2])],
)
def test_a_constant_velocity_is_followed_to_its_end(cfg, begin, end, guided):
    """Its noise levels are 1, ⅔, ⅓ and 0, so each step but the last is a third of the way."""
    sigmas = dict(shift=1.0, num_train_timesteps=3)
    base = Constant("velocity", diffusers.FlowMatchEulerDiscreteScheduler(**sigmas))
    base.pipe.scheduler.sigma_min = 0.0
    steps: list[tuple[int, float]] = []
    found = denoise(
        base,
        says(6.0, 9.0),
        says(3.0),
        NOISE,
        Guidance(4, cfg, begin, end) if begin < 1.0 else Guidance(4, cfg),
        on_step=lambda number, x: steps.append((number, float(x[0, 0, 0, 0]))),
    )
    path = [1.0]
    for step in range(4):
        velocity = 3.0 + cfg * (6.0 - 3.0) if step in guided else 6.0
        path.append(path[-1] - (velocity / 3 if step < 3 else 0.0))
    assert [number for number, _ in steps] == [0, 1, 2, 3]
    assert [x for _, x in steps] == pytest.approx(path[1:], abs=1e-5)
    shared = sum(1 for step in guided if step < 3) / 3
    assert found.flatten(1).tolist() == [
        pytest.approx([path[-1]] * 4, abs=1e-5),
        pytest.approx([-2.0 - 9.0 - shared * (cfg - 1) * (9.0 - 3.0)] * 4, abs=1e-5),
    ]
    levels = [[level / 3] * 2 for level in (3, 2, 1, 0)]
    asked = [x for step, x in enumerate(levels) for _ in range(1 + (step in guided))]
    assert base.times == [pytest.approx(each, abs=1e-6) for each in asked]


def test_constant_noise_is_removed_and_networks_see_their_precision():
    scheduler = diffusers.EulerDiscreteScheduler(num_train_timesteps=100)
    base = Constant("noise", scheduler, torch.bfloat16)
    found = denoise(base, says(0.5, 0.25), None, NOISE, Guidance(5, 7.0))
    first, start = float(scheduler.sigmas[0]), float(scheduler.init_noise_sigma)
    expected = [start * 1.0 - first * 0.5, start * -2.0 - first * 0.25]
    assert found[:, 0, 0, 0].tolist() == pytest.approx(expected, rel=1e-5)
    assert found.dtype == torch.float32 and {x.dtype for x in base.seen} == {torch.bfloat16}
    assert float(base.seen[0][0, 0, 0, 0]) == pytest.approx(start / (first**2 + 1) ** 0.5, rel=1e-2)
    assert base.times == [[float(time)] * 2 for time in scheduler.timesteps]


class Precise(torch.nn.Module):
    """An autoencoder that only tells its precision."""

    def __init__(self, dtype: torch.dtype, **config: Any) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(1, dtype=dtype))
        self.config, self.device = config, torch.device("cpu")

    @property
    def dtype(self) -> torch.dtype:
        return self.weight.dtype


@pytest.mark.parametrize(
    ("dtype", "config", "computed"),
    [
        (torch.float16, {"force_upcast": True}, torch.float32),
        (torch.float16, {"force_upcast": False}, torch.float16),
        (torch.float16, {}, torch.float16),
        (torch.bfloat16, {"force_upcast": True}, torch.bfloat16),
        (torch.float64, {}, torch.float64),
    ],
)
def test_an_autoencoder_that_overflows_is_wider_while_it_computes(dtype, config, computed):
    vae, seen = Precise(dtype, **config), []

    def convert(pipe: Any, x: torch.Tensor) -> torch.Tensor:
        seen.append((x.dtype, pipe.vae.dtype))
        return x

    def fail(pipe: Any, x: torch.Tensor) -> torch.Tensor:
        raise ZeroDivisionError

    family = SimpleNamespace(to_pixels=convert, to_latents=convert)
    base: Any = SimpleNamespace(pipe=SimpleNamespace(vae=vae), family=family)
    for function in (decode, encode):
        assert function(base, NOISE).dtype == torch.float32
        assert seen.pop() == (computed, computed) and vae.dtype == dtype
    family.to_pixels = fail
    with pytest.raises(ZeroDivisionError):
        decode(base, NOISE)
    assert vae.dtype == dtype


def test_guidance_that_ends_before_it_begins_is_refused():
    base = Constant("velocity", diffusers.FlowMatchEulerDiscreteScheduler())
    with pytest.raises(KaleidoError) as caught:
        denoise(base, says(1.0, 1.0), says(0.0), NOISE, Guidance(4, 2.0, 0.2, 0.5))
    assert (caught.value.code, caught.value.what) == ("bad-setting", "sample.cfg_begin = 0.2")
    once = denoise(base, says(1.0, 1.0), says(0.0), NOISE, Guidance(4, 2.0, 0.5, 0.5))
    assert once.shape == NOISE.shape  # a single level is no mistake


def test_each_picture_has_the_noise_of_its_seed():
    noise, generators = noise_of([11, 12], (2, 3))
    for seed, drawn, generator in zip((11, 12), noise, generators, strict=True):
        own = torch.Generator().manual_seed(seed)
        assert torch.equal(drawn, torch.randn(2, 3, generator=own))
        assert torch.equal(torch.randn(1, generator=generator), torch.randn(1, generator=own))


class Stirring(diffusers.FlowMatchEulerDiscreteScheduler):
    """It adds what each picture's generator draws, if it is given them."""

    def step(self, predicted, time, x, return_dict=True, generator=None):
        if generator is not None:
            x = x + torch.stack([torch.randn(x.shape[1:], generator=each) for each in generator])
        return super().step(predicted, time, x, return_dict=return_dict)


def test_samplers_that_add_noise_continue_the_generators():
    base, still = Constant("velocity", Stirring()), says(0.0, 0.0)
    noise, generators = noise_of([11, 12], (1, 2, 2))
    found = denoise(base, still, None, noise, Guidance(2, 1.0), generators)
    expected = noise.clone()
    for row, seed in zip(expected, (11, 12), strict=True):
        own = torch.Generator().manual_seed(seed)
        draws = [torch.randn(1, 2, 2, generator=own) for _ in range(3)]
        row += draws[1] + draws[2]
    torch.testing.assert_close(found, expected)
    assert torch.equal(denoise(base, still, None, noise, Guidance(2, 1.0)), noise)
    plain = Constant("velocity", diffusers.HeunDiscreteScheduler())  # its step takes none
    denoise(plain, still, None, noise, Guidance(2, 1.0), generators)

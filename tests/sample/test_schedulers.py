"""Schedulers of diffusers on our path, against the exact flow of a Gaussian."""

from __future__ import annotations

import json

import diffusers
import numpy as np
import pytest
import torch

from kaleido_diffusion import KaleidoPipeline
from pipelines.core.errors import KaleidoError
from pipelines.sample.bundle import Bundle
from pipelines.sample.schedulers import find_scheduler, known_schedulers, set_up

MEAN, SPREAD, COUNT = 0.3, 0.5, 800
EXACT = [
    "DDIMScheduler",
    "DEISMultistepScheduler",
    "DPMSolverMultistepScheduler",
    "DPMSolverSinglestepScheduler",
    "FlowMatchEulerDiscreteScheduler",
    "FlowMatchHeunDiscreteScheduler",
    "UniPCMultistepScheduler",
]
NOISY = ["DDPMScheduler", "SASolverScheduler"]
CAPTION = "two circles and a star"


def shift(time: torch.Tensor) -> torch.Tensor:
    return 4 * time / (1 + 3 * time)


def predict(x: torch.Tensor, level: torch.Tensor) -> torch.Tensor:
    """The best x̂ for data N(MEAN, SPREAD²); σ = 1 is pure noise."""
    clear = 1.0 - level
    gain = clear * SPREAD**2 / (clear**2 * SPREAD**2 + level**2)
    return MEAN + gain * (x - clear * MEAN)


def run(scheduler, steps: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return noise and what is drawn from it."""
    generators = [torch.Generator().manual_seed(number) for number in range(COUNT)]
    noise = torch.stack([torch.randn(1, 1, 1, generator=each) for each in generators])
    return noise, set_up(scheduler, shift, steps).integrate(predict, noise, generators)


@pytest.mark.parametrize("name", EXACT)
def test_schedulers_without_noise_converge_to_the_exact_flow(name):
    errors = []
    for steps in (12, 48):
        noise, drawn = run(find_scheduler(name), steps)
        errors.append(float((drawn - MEAN - SPREAD * noise).abs().mean()))
    assert errors[1] < 0.035
    assert errors[1] < 0.4 * errors[0]


@pytest.mark.parametrize("name", NOISY)
def test_schedulers_that_add_noise_draw_the_distribution(name):
    noise, drawn = run(find_scheduler(name), 100)
    assert abs(float(drawn.mean()) - MEAN) < 0.03
    assert abs(float(drawn.std()) - SPREAD) < 0.06
    assert abs(float(torch.corrcoef(torch.stack([drawn.flatten(), noise.flatten()]))[0, 1])) < 0.9
    assert torch.equal(run(find_scheduler(name), 100)[1], drawn)


def test_whatever_a_configuration_says_the_levels_are_the_models():
    plain = set_up(diffusers.UniPCMultistepScheduler, shift, 8)
    odd = diffusers.UniPCMultistepScheduler(
        flow_shift=9.0, prediction_type="epsilon", beta_start=0.1, use_karras_sigmas=True
    )
    assert torch.equal(set_up(odd, shift, 8).levels, plain.levels)
    euler = set_up(diffusers.FlowMatchEulerDiscreteScheduler(shift=1.0), shift, 8)
    even = torch.linspace(1, 0, 9)
    torch.testing.assert_close(euler.levels, shift(even))
    for steps in (7, 12):
        levels = set_up(diffusers.DDPMScheduler, shift, steps).levels
        torch.testing.assert_close(levels, shift(torch.linspace(1, 0, steps + 1)))


def test_other_options_of_a_scheduler_are_kept():
    first = diffusers.UniPCMultistepScheduler(solver_order=1)
    found = [run(given, 12)[1] for given in (first, diffusers.UniPCMultistepScheduler)]
    assert set_up(first, shift, 12).scheduler.config.solver_order == 1
    assert (found[0] - found[1]).abs().max() > 0.01


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("LMSDiscreteScheduler", "straight path"),
        ("FlowMatchLCMScheduler", "distilled"),
        ("DPMSolverMultistepInverseScheduler", "from images to noise"),
        ("ManiacScheduler", "neither our own nor"),
        ("SchedulerMixinn", "neither our own nor"),
    ],
)
def test_unfit_schedulers_are_refused_with_the_reason(name, reason):
    with pytest.raises(KaleidoError) as caught:
        find_scheduler(name)
    assert caught.value.code == "bad-setting"
    assert reason in caught.value.why
    assert "UniPCMultistepScheduler" in caught.value.hint


def test_every_listed_scheduler_can_be_set_up():
    found = known_schedulers()
    assert {*EXACT, *NOISY} <= set(found)
    for name in found:
        assert set_up(find_scheduler(name), shift, 4).levels[-1] == 0


@pytest.fixture
def pipe(bundle) -> KaleidoPipeline:
    return KaleidoPipeline.from_bundle(bundle)


def draw(pipe, steps: int = 6):
    generator = torch.Generator().manual_seed(3)
    options = {"num_inference_steps": steps, "generator": generator, "output_type": "np"}
    return pipe(CAPTION, 2, **options).images


def test_the_usual_scheduler_is_our_own_sampler(pipe):
    expected = draw(pipe)
    pipe.scheduler = diffusers.FlowMatchEulerDiscreteScheduler.from_config(pipe.scheduler.config)
    np.testing.assert_array_equal(draw(pipe), expected)
    pipe.scheduler = diffusers.FlowMatchEulerDiscreteScheduler()
    np.testing.assert_allclose(draw(pipe), expected, atol=1.01 / 255)
    pipe.scheduler = diffusers.DDIMScheduler.from_config(pipe.scheduler.config)
    np.testing.assert_allclose(draw(pipe), expected, atol=1.01 / 255)


def test_a_scheduler_of_the_pipeline_draws_and_is_saved(bundle, tmp_path):
    own = Bundle(bundle.prior, bundle.diffusion, "kaleido", "test")
    pipe = KaleidoPipeline.from_bundle(own)
    plain = draw(pipe)
    pipe.scheduler = diffusers.DDPMScheduler.from_config(pipe.scheduler.config)
    noisy = draw(pipe)
    assert np.abs(noisy - plain).max() > 0.1
    pipe.save_pretrained(tmp_path / "saved")
    again = KaleidoPipeline.from_pretrained(tmp_path / "saved")
    assert type(again.scheduler) is diffusers.DDPMScheduler
    np.testing.assert_array_equal(draw(again), noisy)
    index = json.loads((tmp_path / "saved" / "model_index.json").read_text("utf-8"))
    assert index["scheduler"] == ["diffusers", "DDPMScheduler"]


def test_the_pipeline_refuses_an_unfit_scheduler(pipe):
    pipe.scheduler = diffusers.DDIMInverseScheduler()
    with pytest.raises(KaleidoError) as caught:
        draw(pipe)
    assert caught.value.code == "bad-setting"


def test_pictures_with_added_noise_do_not_depend_on_their_batch(pipe):
    pipe.scheduler = diffusers.DDPMScheduler()
    options = {"num_inference_steps": 3, "output_type": "np"}
    both, single = (
        pipe(CAPTION, 2, generator=torch.Generator().manual_seed(3), batch_size=size, **options)
        for size in (2, 1)
    )
    np.testing.assert_allclose(both.images, single.images, atol=1.01 / 255)


def test_the_command_takes_a_scheduler_by_name(invoke, tmp_path):
    def drawn(sampler: str) -> bytes:
        place = tmp_path / sampler
        flags = ("--n", "1", "--steps", "3", "--sampler", sampler, "--out", str(place))
        invoke("sample", CAPTION, *flags)
        return next(iter(sorted(place.glob("0*.png")))).read_bytes()

    assert drawn("UniPCMultistepScheduler") != drawn("euler")


def test_the_command_refuses_a_sampler_before_it_draws(invoke):
    said = invoke("sample", CAPTION, "--sampler", "Eulr", code=1)
    assert "UniPCMultistepScheduler" in said.err

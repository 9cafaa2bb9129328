"""Every family draws what its own pipeline draws, with and without guidance."""

from __future__ import annotations

import json
from typing import Any

import diffusers
import numpy as np
import pytest
import torch

from pipelines.bases.latents import FrameLatents
from pipelines.bases.loop import Guidance, decode, denoise, noise_of
from pipelines.core.errors import KaleidoError
from tests.bases.tiny_pipelines import AVAILABLE

pytestmark = [
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:`past_key_values` is deprecated:FutureWarning"),
]
"""Diffusers hands tensors to NumPy, and names an argument of transformers, in older ways."""

PROMPTS = ["a red cat", "two blue dogs run on wet grass"]
SEEDS = [11, 12]

STOCK: dict[str, Any] = {
    "sdxl": lambda g: {"guidance_scale": g},
    "sd15": lambda g: {"guidance_scale": g},
    "sana": lambda g: {"guidance_scale": g, "use_resolution_binning": False},
    "flux2-klein": lambda g: {"guidance_scale": g},
    # Its usual noise levels are not the same in all versions of diffusers.
    "z-image": lambda g: {"guidance_scale": g - 1, "sigmas": [1.0, 0.75, 0.5, 0.25]},
    "sd3": lambda g: {"guidance_scale": g},
    "pixart-sigma": lambda g: {
        "guidance_scale": g,
        "use_resolution_binning": False,
        "clean_caption": False,
    },
    "lumina2": lambda g: {"guidance_scale": g},
    "ideogram4": lambda g: {"guidance_scale": g, "guidance_schedule": None},
    "fibo": lambda g: {"guidance_scale": g},
    "fibo2": lambda g: {"guidance_scale": g},
    "flux1": lambda g: {"true_cfg_scale": g, "negative_prompt": [""] * 2},
    "qwen-image": lambda g: {"true_cfg_scale": g, "negative_prompt": [" "] * 2},
}
"""Arguments with which a pipeline itself guides with the scale g."""


def stock(base, cfg: float, width: int = 64, **more: Any) -> np.ndarray:
    """Draw with the pipeline's own call, in [0, 1]."""
    generators = [torch.Generator().manual_seed(seed) for seed in SEEDS]
    found: np.ndarray = base.pipe(
        height=64,
        width=width,
        num_inference_steps=4,
        generator=generators,
        output_type="np",
        **{"prompt": list(PROMPTS)} | STOCK[base.family.name](cfg) | more,
    ).images
    return found.reshape(-1, *found.shape[-3:])  # older pipelines leave the axis of frames


def ours(
    base, prompts=PROMPTS, seeds=SEEDS, negative=None, width: int = 64, z=None, **guidance: Any
) -> np.ndarray:
    """Draw with our loop, in [0, 1]."""
    family = base.family
    with torch.no_grad():
        condition = family.encode(base.pipe, prompts)
        null = family.null(base.pipe, negative)
        if z is not None:
            condition |= base.adapter.read(base.adapter.tokenize(z))
            null |= base.adapter.null()
    shape = family.latent_shape(base.pipe, 64, width)
    noise, generators = noise_of(seeds, shape)
    if family.name == "ideogram4":  # its own pipeline draws the noise of packed latents
        packed, generators = noise_of(seeds, (shape[1] * shape[2], shape[0]))
        noise = packed.transpose(1, 2).unflatten(2, shape[1:])
    latents = denoise(
        base, condition, null, noise, Guidance(**{"steps": 4, "cfg": 5.0} | guidance), generators
    )
    pixels = decode(base, latents) / 2 + 0.5
    return pixels.clamp(0, 1).permute(0, 2, 3, 1).numpy()


@pytest.mark.parametrize("name", AVAILABLE)
class TestAllFamilies:
    def test_equals_the_pipeline_with_guidance(self, name, loaded):
        base = loaded(name)
        expected = stock(base, 5.0)
        assert np.ptp(expected) > 0.1
        assert np.abs(ours(base) - expected).max() < 1e-5

    def test_guidance_changes_the_picture(self, name, loaded):
        base = loaded(name)
        plain, guided = ours(base, cfg=1.0), ours(base, cfg=5.0)
        assert np.abs(plain - guided).max() > 1e-3
        never = ours(base, cfg=5.0, cfg_begin=0.0)  # no step is at noise level 0
        np.testing.assert_array_equal(never, plain)

    def test_a_picture_does_not_depend_on_its_batch(self, name, loaded):
        base = loaded(name)
        together = ours(base)
        alone = ours(base, PROMPTS[1:], SEEDS[1:])
        assert np.abs(together[1:] - alone).max() < 1e-5

    def test_latents_are_those_that_the_autoencoder_decodes(self, name, loaded):
        base = loaded(name)
        pixels = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(3)) * 2 - 1
        with torch.no_grad():
            latents = base.family.to_latents(base.pipe, pixels)
            of_videos = isinstance(base.family, FrameLatents)
            frames = pixels.unsqueeze(2) if of_videos else pixels
            encoded = base.pipe.vae.encode(frames)
            mode = encoded.latent_dist.mode() if hasattr(encoded, "latent_dist") else encoded.latent
            expected = base.pipe.vae.decode(mode, return_dict=False)[0]
        expected = expected[:, :, 0] if of_videos else expected
        assert latents.shape[1:] == base.family.latent_shape(base.pipe, 64, 64)
        assert (decode(base, latents) - expected).abs().max() < 1e-5
        assert (latents.flatten()[: mode.numel()] - mode.flatten()).abs().max() > 1e-3


@pytest.mark.parametrize(
    "name", [name for name in AVAILABLE if name not in ("flux2-klein", "ideogram4")]
)
def test_a_negative_prompt_is_that_of_the_pipeline(name, loaded):
    base = loaded(name)
    expected = stock(base, 5.0, negative_prompt=["blurred"] * 2)
    assert np.abs(ours(base, negative="blurred") - expected).max() < 1e-5
    assert np.abs(ours(base) - expected).max() > 1e-4


@pytest.mark.parametrize("name", AVAILABLE)
def test_a_wide_picture_keeps_its_size(name, loaded):
    base = loaded(name)
    drawn = ours(base, width=128)
    assert drawn.shape == (2, 64, 128, 3)
    assert np.abs(drawn - stock(base, 5.0, width=128)).max() < 1e-5


def test_several_pictures_of_several_prompts_keep_their_order(loaded):
    base = loaded("sana")  # the pipeline's own masks are in another order than its texts
    prompts, seeds = [PROMPTS[0]] * 2 + [PROMPTS[1]] * 2, [11, 12, 11, 12]
    drawn = ours(base, prompts, seeds)
    for place in range(4):
        alone = ours(base, prompts[place : place + 1], seeds[place : place + 1])[0]
        assert np.abs(drawn[place] - alone).max() < 1e-5


@pytest.mark.skipif("ideogram4" not in AVAILABLE, reason="this diffusers does not know it")
def test_ideogram_has_no_negative_prompts_and_a_limit(loaded):
    base = loaded("ideogram4")
    with pytest.raises(KaleidoError) as caught:
        base.family.null(base.pipe, "blurred")
    assert caught.value.code == "bad-option"
    with pytest.raises(KaleidoError) as caught:
        base.family.encode(base.pipe, ["word " * 500])
    assert caught.value.code == "bad-data"


@pytest.mark.parametrize("name", [name for name in ("fibo", "fibo2") if name in AVAILABLE])
def test_fibo_reads_its_json_as_the_pipeline_does(name, loaded):
    base = loaded(name)
    prompts = [
        json.dumps({"short_description": text, "objects": [], "context": "", "lighting": {}})
        for text in PROMPTS
    ]
    drawn = ours(base, prompts)
    assert np.abs(drawn - stock(base, 5.0, prompt=prompts)).max() < 1e-5
    assert np.abs(drawn - ours(base)).max() > 1e-3
    with pytest.raises(KaleidoError) as caught:
        base.family.encode(base.pipe, ["word " * 2000])
    assert caught.value.code == "bad-data"


def test_klein_takes_a_negative_prompt_that_the_pipeline_has_not(loaded):
    base = loaded("flux2-klein")
    assert np.abs(ours(base, negative="blurred") - ours(base)).max() > 1e-4


def test_the_callers_prompts_are_not_changed(loaded):
    prompts = list(PROMPTS)
    base = loaded("z-image")
    base.family.encode(base.pipe, prompts)
    assert prompts == PROMPTS


def test_a_sampler_that_adds_noise_takes_each_pictures_generator(loaded):
    base = loaded("sdxl")
    before = base.pipe.scheduler
    base.pipe.scheduler = diffusers.EulerAncestralDiscreteScheduler.from_config(before.config)
    try:
        expected = stock(base, 5.0)
        assert np.abs(ours(base) - expected).max() < 1e-5
        assert np.abs(ours(base, PROMPTS[1:], SEEDS[1:])[0] - expected[1]).max() < 1e-5
    finally:
        base.pipe.scheduler = before

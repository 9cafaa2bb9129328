"""An adapter with 8-bit weights, offloading and compiled blocks: equal pictures, or a refusal."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import FirstBlockCacheConfig

from pipelines.bases import base as bases
from pipelines.bases.adapter_lora import add_lora, lora_state, remove_lora
from pipelines.bases.base import Base, load_base
from pipelines.core.errors import KaleidoError
from tests.bases.test_adapter import Z, opened, pictures

pytestmark = [
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:.*:UserWarning"),  # of peft and of offloading to a CPU
]
NAME = "flux2-klein"
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def saved(base_folder, tmp_path_factory):
    """The folder of an adapter with LoRA for a tiny FLUX.2 klein."""
    pytest.importorskip("peft")
    base = load_base(str(base_folder(NAME)))
    adapter = opened(base)
    for parameter in add_lora(base.family, base.denoiser, 2):
        torch.nn.init.normal_(parameter, std=0.3)
    adapter.lora = lora_state(base.family, base.denoiser)
    remove_lora(base.denoiser)
    folder = tmp_path_factory.mktemp("adapter")
    adapter.save_pretrained(folder)
    return folder


@pytest.fixture
def draw(saved, base_folder, monkeypatch) -> Callable[..., np.ndarray]:
    """Return a function that draws with the adapter, with the networks placed in some way."""

    def drawn(place: Callable[[Any], None] | None = None, dtype: str = "auto", z: Any = Z):
        if place is not None:
            monkeypatch.setattr(bases, "_place", lambda pipe, *_: place(pipe))
        base = load_base(str(base_folder(NAME)), dtype, adapter=str(saved))
        return base, pictures(base, z)

    return drawn


def test_offloading_moves_what_the_adapter_added_too(draw):
    _, plain = draw()
    layers = {"offload_device": CPU, "offload_type": "leaf_level"}
    for place in (
        lambda pipe: pipe.enable_model_cpu_offload(device="cpu"),
        lambda pipe: pipe.enable_group_offload(onload_device=CPU, **layers),
    ):
        base, found = draw(place)
        np.testing.assert_array_equal(found, plain)
        assert base.adapter.device == CPU


def test_layers_of_lora_are_under_offloading(draw):
    layers = {"offload_device": CPU, "offload_type": "leaf_level"}
    base, _ = draw(lambda pipe: pipe.enable_group_offload(onload_device=CPU, **layers))
    hooked = [
        module._diffusers_hook.get_hook("group_offloading") is not None
        for name, module in base.denoiser.named_modules()
        if "lora_A." in name
    ]
    assert hooked and all(hooked)


def test_weights_in_eight_bits_draw_nearly_the_same(draw):
    _, plain = draw()
    base, narrow = draw(dtype="fp8")
    eight = {value.dtype for value in base.denoiser.parameters()}
    assert torch.float8_e4m3fn in eight
    difference = np.abs(narrow.astype(int) - plain).mean()
    assert 0 < difference < 4
    with_other_z = pictures(base, Z[::-1])
    assert np.abs(with_other_z.astype(int) - narrow).mean() > 2 * difference


def test_compiled_blocks_read_the_z_of_the_moment(draw):
    base, plain = draw()
    other = pictures(base, Z[::-1])
    base.denoiser.compile_repeated_blocks(backend="eager", fullgraph=True)
    np.testing.assert_array_equal(pictures(base), plain)
    np.testing.assert_array_equal(pictures(base, Z[::-1]), other)


def test_what_would_lose_z_is_refused(base_folder):
    base: Base = load_base(str(base_folder("flux1")))  # whose blocks every diffusers can cache
    base.denoiser.enable_cache(FirstBlockCacheConfig(threshold=0.1))
    with pytest.raises(KaleidoError) as caught:
        opened(base).attach(base.pipe)
    assert caught.value.code == "bad-option" and "enable_cache" in caught.value.hint
    base.denoiser.disable_cache()
    adapter = opened(base).attach(base.pipe)
    with pytest.raises(KaleidoError, match="original's blocks"):
        copy.deepcopy(base.denoiser)
    adapter.detach()
    copy.deepcopy(base.denoiser)

from __future__ import annotations

import json
import shutil
from collections.abc import Callable

import pytest
import torch
from torch.profiler import ProfilerActivity, profile

from pipelines.bases.base import load_base
from pipelines.bases.describe import GIB, describe
from pipelines.bases.folder import open_folder
from pipelines.bases.memory import PeakMemory, activation_bytes, meta_pipeline
from pipelines.core.errors import KaleidoError
from pipelines.models.metadata import write_metadata
from pipelines.train.adapter_footprint import adapter_outlook
from pipelines.workspace.workspace import Workspace
from tests.bases.real_sizes import REAL, real_folder
from tests.bases.test_adapter import fresh
from tests.bases.tiny_pipelines import AVAILABLE

DENOISERS = {"sdxl": 2.567, "sd15": 0.860, "sana": 1.604, "flux2-klein": 3.876, "z-image": 6.155}
"""Billions of parameters of the published denoisers."""


@pytest.mark.parametrize("name", AVAILABLE)
def test_activations_without_weights_are_those_with_them(name, base_folder):
    base = load_base(str(base_folder(name)))
    pipe = meta_pipeline(base.folder)
    assert all(value.is_meta for value in pipe.vae.parameters())
    estimated = activation_bytes(base.folder, pipe, 64, 128)
    for part in (base.denoiser, base.pipe.vae):
        torch.nn.Module.to(part, torch.bfloat16)
    assert activation_bytes(base.folder, base.pipe, 64, 128) == estimated


@pytest.mark.parametrize("name", REAL)
def test_published_sizes_are_counted_without_their_weights(name, base_folder, tmp_path):
    folder = real_folder(name, base_folder(name), tmp_path / name)
    facts = describe(str(folder))
    denoiser = open_folder(str(folder), with_weights=False).family.denoiser
    (count,) = [part.parameters for part in facts.parts if part.name == denoiser]
    assert count / 1e9 == pytest.approx(DENOISERS[name], abs=0.001)
    weights = 2 * sum(part.parameters for part in facts.parts)
    assert facts.ways[0].needs == weights + max(facts.denoising, facts.decoding)
    assert facts.ways[1].needs < facts.ways[0].needs
    assert 0.03 * GIB < facts.denoising < GIB  # weights are not counted among them


def test_the_peak_counts_what_is_alive_once():
    weights = torch.ones(1000)
    with PeakMemory() as memory:
        product = weights.view(10, 100) * 2.0
        view = product.t()
        assert memory.peak == 4000
        del product, view
        kept = torch.zeros(500)
        assert memory.peak == 4000
        more = kept + 1.0, kept + 2.0
    assert memory.peak == 6000
    assert len(more) == 2


def allocated(run: Callable[[], object]) -> int:
    """Return the most bytes that the allocator has given out at once."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as found:
        run()
    alive = peak = 0
    for event in found.profiler.kineto_results.events():
        if event.name() == "[memory]":
            alive += event.nbytes()
            peak = max(peak, alive)
    return peak


@pytest.mark.parametrize("name", ["sdxl", "flux2-klein"])
@torch.no_grad()
def test_the_plan_is_what_the_allocator_gives(name, base_folder):
    base = load_base(str(base_folder(name)), "fp32")
    # Kernels of a CPU pad channels to 16, which the tiny autoencoder has not.
    sizes = {"block_out_channels": (32, 32), "norm_num_groups": 8, "layers_per_block": 1}
    kinds = {
        "down_block_types": ["DownEncoderBlock2D"] * 2,
        "up_block_types": ["UpDecoderBlock2D"] * 2,
    }
    vae = type(base.pipe.vae)(latent_channels=4, **sizes, **kinds).eval()
    base.pipe.vae, base.pipe.vae_scale_factor = vae, 2
    planned = activation_bytes(base.folder, base.pipe, 128, 128)
    latents = torch.zeros(1, *base.family.latent_shape(base.pipe, 128, 128))
    condition, time = base.family.blank(base.pipe, 1, latents), torch.full((1,), 0.5)
    measured = (
        allocated(lambda: base.family.predict(base.pipe, latents, time, condition)),
        allocated(lambda: base.family.to_pixels(base.pipe, latents)),
    )
    assert planned == pytest.approx(measured, rel=0.1)


def test_more_pixels_need_more_memory(base_folder):
    small, large = (describe(str(base_folder("sdxl")), size) for size in ("64", "512"))
    assert large.denoising > 3 * small.denoising
    assert (large.width, large.height) == (512, 512)


def test_a_card_holds_what_fits(base_folder, tmp_path):
    folder = real_folder("sdxl", base_folder("sdxl"), tmp_path / "sdxl")
    facts = describe(str(folder), "1024")
    assert facts.cards[24] == facts.cards[80] == ""
    by_flags = {way.flags: way.needs for way in facts.ways}
    for card, flags in facts.cards.items():
        assert flags is not None and by_flags[flags] <= 0.92 * card * GIB


def test_the_licence_is_that_of_the_card(base_folder, tmp_path):
    folder = shutil.copytree(base_folder("sana"), tmp_path / "sana")
    assert describe(str(folder)).licence_is_usual
    (folder / "README.md").write_text("---\nlicense: other\nlicense_name: my-terms\n---\n# Sana\n")
    facts = describe(str(folder))
    assert (facts.licence, facts.licence_is_usual) == ("my-terms", False)


def test_the_command_shows_it(invoke, base_folder, tmp_path):
    folder = shutil.copytree(base_folder("flux2-klein"), tmp_path / "FLUX.2-klein-4B")
    index = json.loads((folder / "model_index.json").read_text("utf-8")) | {"is_distilled": True}
    (folder / "model_index.json").write_text(json.dumps(index), "utf-8")
    text = invoke("base", str(folder)).out
    for part in ("FLUX.2 klein", "is_distilled", "512 tokens", "--offload model", "24 GiB"):
        assert part in text
    facts = json.loads(invoke("base", str(folder), "--size", "64", "--json").out)
    assert facts["cards"]["8"] == ""
    assert facts["cfg"] == 1.0


def test_a_configuration_that_fits_no_class_is_the_users_error(base_folder, tmp_path):
    folder = shutil.copytree(base_folder("sana"), tmp_path / "sana")
    path = folder / "transformer" / "config.json"
    path.write_text(json.dumps({"num_layers": "many"}), "utf-8")
    with pytest.raises(KaleidoError) as caught:
        describe(str(folder))
    assert caught.value.code == "bad-model"


def test_weights_in_eight_bits_draw(invoke, base_folder, tmp_path):
    folder = str(base_folder("z-image"))
    flags = ("--base", folder, "--n", "1", "--steps", "2", "--size", "64", "--baseline")
    for name, more in (("wide", ()), ("narrow", ("--dtype", "fp8"))):
        invoke("sample", "a star", *flags, *more, "--out", str(tmp_path / name))
    wide, narrow = ((tmp_path / name / "0000-0000.png").read_bytes() for name in ("wide", "narrow"))
    assert wide != narrow
    row = json.loads((tmp_path / "narrow" / "samples.jsonl").read_text("utf-8"))
    assert row["base"]["dtype"] == "float32"  # what it computes in


class TestAdapters:
    """What `kaleido base` says of adapters."""

    def test_one_of_a_published_size_is_tens_of_megabytes(self, base_folder, tmp_path):
        folder = real_folder("sdxl", base_folder("sdxl"), tmp_path / "sdxl")
        found = adapter_outlook(str(folder), 1024, 1024)
        assert found.blocks == 35 and found.parameters == pytest.approx(27.5e6, rel=0.01)
        facts = describe(str(folder), "1024")
        frozen = 2 * sum(part.parameters for part in facts.parts)
        assert frozen < found.checkpointed < 0.6 * found.training

    def test_the_command_names_those_that_fit(
        self, loaded, base_folder, invoke, tmp_path, monkeypatch
    ):
        workspace = Workspace.init(tmp_path / "ws")
        fresh(loaded("sana")).save_pretrained(workspace.models("adapter"))
        write_metadata(workspace.models("adapter"), {})
        monkeypatch.chdir(workspace.root)
        sana, sdxl = (str(base_folder(name)) for name in ("sana", "sdxl"))
        said = invoke("base", sana).out
        assert "Adapter: " in said and "parameters in 1 blocks" in said
        assert f"Adapter {workspace.models('adapter')}: fits" in said
        found = json.loads(invoke("base", sdxl, "--adapter", "models/adapter", "--json").out)
        assert found["adapters"] == {"models/adapter": False}
        assert found["adapter"]["parameters"] > 1_000_000 and not found["adapter"]["why_not"]
        assert invoke("base", sdxl, "--adapter", f"{sdxl}/unet", code=1).err.count("no adapter")

    @pytest.mark.parametrize("name", ["fibo", "flux1"])
    def test_none_can_be_trained_for_some(self, name, base_folder, invoke):
        assert "none can be trained" in invoke("base", str(base_folder(name))).out

from __future__ import annotations

import shutil

import huggingface_hub
import numpy as np
import pytest

from pipelines.bases.base import load_base
from pipelines.bases.folder import open_folder
from pipelines.bases.variants import unwanted, variant_of
from pipelines.core.errors import KaleidoError
from tests.bases.test_families import ours
from tests.bases.tiny_pipelines import build

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

UNET = "unet/diffusion_pytorch_model"


@pytest.fixture(scope="module")
def halves(tmp_path_factory):
    """The folder of a tiny SDXL that has weights of the variant fp16 alone, the U-Net's split."""
    folder = tmp_path_factory.mktemp("variants") / "sdxl"
    pipe = build("sdxl")
    pipe.save_pretrained(folder, variant="fp16")
    shutil.rmtree(folder / "unet")
    pipe.unet.save_pretrained(folder / "unet", variant="fp16", max_shard_size="200KB")
    return folder


@pytest.mark.parametrize(
    ("files", "variant"),
    [
        ([f"{UNET}.safetensors", f"{UNET}.fp16.safetensors"], ""),
        ([f"{UNET}.fp16.safetensors"], "fp16"),
        ([f"{UNET}.fp16-00001-of-00002.safetensors"], "fp16"),
        ([f"{UNET}-00001-of-00002.fp16.safetensors"], "fp16"),
        ([f"{UNET}-00001-of-00002.safetensors"], ""),
        ([f"{UNET}.bf16.safetensors", f"{UNET}.fp16.safetensors"], "fp16"),
        ([f"{UNET}.fp16.safetensors", "vae/m.safetensors"], "fp16"),
        ([f"{UNET}.bf16.safetensors", "vae/m.bf16.safetensors", "vae/m.fp16.safetensors"], "bf16"),
        ([f"{UNET}.bin", f"{UNET}.int8.safetensors", "other/m.fp16.safetensors"], "int8"),
        (["unet/config.json", "sd_xl.fp16.safetensors"], ""),
    ],
)
def test_the_files_tell_the_variant(files, variant):
    assert variant_of("a base", files, ["unet", "vae"]) == variant


def test_variants_that_no_two_networks_share_are_refused():
    with pytest.raises(KaleidoError) as caught:
        variant_of("x", [f"{UNET}.fp16.safetensors", "vae/m.bf16.safetensors"], ["unet", "vae"])
    assert (caught.value.code, "bf16" in caught.value.why) == ("bad-model", True)


def test_a_folder_of_halves_draws_what_the_whole_draws(halves, loaded):
    assert not list(halves.rglob("*model.safetensors"))
    assert len(list((halves / "unet").glob("*.fp16*.safetensors"))) > 1
    base = load_base(str(halves))
    assert base.folder.variant == "fp16"
    np.testing.assert_array_equal(ours(base), ours(loaded("sdxl")))


def test_one_network_without_other_weights_is_enough(base_folder, tmp_path, loaded):
    folder = shutil.copytree(base_folder("sdxl"), tmp_path / "mixed")
    weights = folder / f"{UNET}.safetensors"
    weights.rename(folder / f"{UNET}.fp16.safetensors")
    np.testing.assert_array_equal(ours(load_base(str(folder))), ours(loaded("sdxl")))


def test_base_says_which_variant_it_is(halves, base_folder, invoke):
    assert "fp16 variant" in invoke("base", str(halves)).out
    assert "variant" not in invoke("base", str(base_folder("sdxl"))).out


def test_an_index_of_a_variant_is_checked_too(halves, tmp_path):
    folder = shutil.copytree(halves, tmp_path / "cut")
    next((folder / "unet").glob("*.safetensors")).unlink()
    with pytest.raises(KaleidoError) as caught:
        open_folder(str(folder))
    assert caught.value.code == "bad-model"


@pytest.mark.parametrize("has_connection", [True, False])
def test_of_a_base_on_the_hub_that_variant_alone_is_fetched(halves, monkeypatch, has_connection):
    asked: list[tuple[list[str], list[str]]] = []

    def fetch(name, allow_patterns, ignore_patterns):
        asked.append((allow_patterns, ignore_patterns))
        return str(halves)

    def list_files(name):
        if not has_connection:
            raise OSError("no route to host")
        return [path.relative_to(halves).as_posix() for path in halves.rglob("*.*")]

    monkeypatch.setattr(huggingface_hub, "snapshot_download", fetch)
    monkeypatch.setattr(huggingface_hub, "list_repo_files", list_files)
    assert open_folder("someone/halves").variant == "fp16"
    (_, _), (patterns, without) = asked
    assert "unet/*.safetensors" in patterns
    assert without == unwanted("fp16") and "*.bf16[.-]*" in without
    asked.clear()
    assert open_folder("someone/halves", with_weights=False).variant == "fp16"

"""Latent spaces of diffusers' autoencoders: found, loaded safely, scaled as they say."""

from __future__ import annotations

import json

import pytest
import torch
from diffusers import AutoencoderDC, AutoencoderKL
from safetensors.torch import load_file, save_file

from pipelines.core.errors import KaleidoError
from pipelines.models.latent_space import LatentSpace, find_autoencoder
from tests.models.autoencoders import save_dc, save_kl

PICTURES = torch.rand(2, 3, 16, 24, generator=torch.Generator().manual_seed(1)) * 2 - 1


def load(folder) -> LatentSpace:
    ref = find_autoencoder(str(folder))
    return LatentSpace.load(ref.folder, ref.identity)


@pytest.mark.parametrize(("scale", "shift"), [(0.13025, None), (1.5305, 0.0609)])
def test_shift_and_scale_are_those_of_the_configuration(tmp_path, scale, shift):
    folder = save_kl(tmp_path / "vae", scaling_factor=scale, shift_factor=shift)
    space = load(folder)
    assert (space.channels, space.factor) == (4, 4)
    plain = AutoencoderKL.from_pretrained(folder)
    with torch.no_grad():
        mode = plain.encode(PICTURES).latent_dist.mode()
        torch.testing.assert_close(space.encode(PICTURES), (mode - (shift or 0.0)) * scale)
        torch.testing.assert_close(
            space.decode(space.encode(PICTURES)), plain.decode(mode).sample, atol=1e-5, rtol=1e-4
        )
    assert torch.equal(space.encode(PICTURES), space.encode(PICTURES))  # without noise


def test_means_and_deviations_of_channels_go_first(tmp_path):
    mean, std = [0.1, -0.2, 0.3, 0.0], [2.0, 1.0, 0.5, 4.0]
    folder = save_kl(
        tmp_path / "vae", scaling_factor=0.5, latents_mean=mean, latents_std=std, shift_factor=9.0
    )
    space, plain = load(folder), AutoencoderKL.from_pretrained(folder)
    with torch.no_grad():
        mode = plain.encode(PICTURES).latent_dist.mode()
    per_channel = (torch.tensor(each).view(1, 4, 1, 1) for each in (mean, std))
    centre, spread = per_channel
    torch.testing.assert_close(space.encode(PICTURES), (mode - centre) * 0.5 / spread)
    torch.testing.assert_close(
        space.decode(space.encode(PICTURES)), plain.decode(mode).sample, atol=1e-5, rtol=1e-4
    )


def test_deep_compression_autoencoders_have_no_distribution(tmp_path):
    folder = save_dc(tmp_path / "dc")
    space, plain = load(folder), AutoencoderDC.from_pretrained(folder)
    assert (space.channels, space.factor) == (4, 4)
    with torch.no_grad():
        torch.testing.assert_close(space.encode(PICTURES), plain.encode(PICTURES).latent * 0.41407)
    assert space.decode(space.encode(PICTURES)).shape == PICTURES.shape


def test_large_pictures_are_decoded_in_tiles_one_by_one(tmp_path, monkeypatch):
    space = load(save_kl(tmp_path / "vae"))
    latents = torch.randn(3, 4, 8, 8)
    whole = space.decode(latents)
    seen = []
    decode = type(space.network).decode

    def noting(self, z, *args, **options):
        seen.append((tuple(z.shape), self.use_tiling))
        return decode(self, z, *args, **options)

    monkeypatch.setattr(type(space.network), "decode", noting)
    torch.testing.assert_close(space.decode(latents), whole)
    assert seen == [((1, 4, 8, 8), False)] * 3
    monkeypatch.setattr("pipelines.models.latent_space.TILED_PIXELS", 31 * 31)
    space.decode(latents)
    assert seen[3:] == [((1, 4, 8, 8), True)] * 3
    monkeypatch.undo()
    torch.testing.assert_close(space.decode(latents), whole)


def test_a_pipeline_has_its_autoencoder_in_a_folder(tmp_path):
    save_kl(tmp_path / "pipeline" / "vae")
    (tmp_path / "pipeline" / "model_index.json").write_text('{"_class_name": "X"}')
    ref = find_autoencoder(str(tmp_path / "pipeline"))
    assert ref.folder.name == "vae" and (ref.factor, ref.channels) == (4, 4)
    assert ref.identity == find_autoencoder(str(ref.folder)).identity


def test_the_identity_is_that_of_the_weights(tmp_path):
    first = find_autoencoder(str(save_kl(tmp_path / "a"))).identity
    assert find_autoencoder(str(save_kl(tmp_path / "b"))).identity == first
    path = tmp_path / "b" / "diffusion_pytorch_model.safetensors"
    weights = load_file(path)
    name = sorted(weights)[0]
    save_file(weights | {name: weights[name] + 1.0}, path)
    assert find_autoencoder(str(tmp_path / "b")).identity != first


def test_other_models_and_damaged_ones_are_refused(tmp_path):
    folder = save_kl(tmp_path / "vae")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"_class_name": "VQModel"}))
    with pytest.raises(KaleidoError) as caught:
        find_autoencoder(str(folder))
    assert caught.value.code == "bad-model"
    with pytest.raises(KaleidoError) as caught:
        find_autoencoder(str(tmp_path / "none"))
    assert caught.value.code == "bad-option"
    (folder / "config.json").write_text(json.dumps(config))
    path = folder / "diffusion_pytorch_model.safetensors"
    weights = load_file(path)
    name = sorted(weights)[0]
    save_file(weights | {name: weights[name] * float("nan")}, path)
    ref = find_autoencoder(str(folder))
    with pytest.raises(KaleidoError) as caught:
        LatentSpace.load(ref.folder, ref.identity)
    assert caught.value.code == "bad-model"
    path.unlink()
    (folder / "diffusion_pytorch_model.bin").write_bytes(b"pickle")
    with pytest.raises(KaleidoError) as caught:
        find_autoencoder(str(folder))
    assert caught.value.code == "bad-model"

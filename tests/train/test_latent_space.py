"""Training and drawing in the latent space of an autoencoder, from the command line."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from pipelines.core.errors import InputMissing, KaleidoError
from pipelines.core.images import decode_image
from pipelines.core.progress import SILENT
from pipelines.extract.run import extract
from pipelines.latents.image_latents import ImageLatents
from pipelines.latents.text import LatentError
from pipelines.models.diffusion import Diffusion
from pipelines.models.latent_space import LatentSpace, find_autoencoder
from pipelines.models.pixels import pixels_of, to_tensor
from pipelines.train.diffusion import train_diffusion
from pipelines.train.footprint import diffusion_footprint
from pipelines.train.pictures import open_stream, read_pictures
from pipelines.train.prior import train_prior
from pipelines.workspace.reader import read_joined
from tests.models.autoencoders import save_dc, save_kl
from tests.train.conftest import adapt
from tests.train.photographs import write_photographs

KIND = "image-latents"


@pytest.fixture
def encoded(workspace, tmp_path):
    """Pictures of several shapes, and settings of a latent space with 4 x 4 pixels to a value."""
    folder = save_kl(tmp_path / "vae", scaling_factor=0.5, shift_factor=0.1)
    changes = {"space": "latents", "autoencoder": str(folder), "image_size": 32, "patch_size": 2}
    photographs = write_photographs(workspace)
    return adapt(photographs, **{f"diffusion__{key}": value for key, value in changes.items()})


def test_a_picture_is_encoded_at_the_middle_of_its_shape(encoded):
    (summary,) = extract(encoded, [KIND])
    assert (summary.ok, summary.failed) == (60, 0)
    settings = encoded.settings.diffusion
    ref = find_autoencoder(settings.autoencoder)
    stream = open_stream(encoded, settings, ref, SILENT)
    space = LatentSpace.load(ref.folder, ref.identity)
    shapes = set()
    for start in range(0, 60, 6):
        latents, _ = read_pictures(stream, 0, start, 6, encoded=True)
        shapes.add(tuple(latents.shape[1:]))
        records = {r.key: r for shard in encoded.data_shards() for r in read_joined(encoded, shard)}
        key = stream.keys(start, 1)[0]
        pixels = to_tensor(pixels_of(records[key], stream.shape(start))[None])
        torch.testing.assert_close(latents[:1], space.encode(pixels), atol=2e-3, rtol=2e-3)
    assert shapes == {(4, 8, 8), (4, 6, 10), (4, 10, 6)}


def test_one_more_picture_is_one_more_shard(encoded):
    extract(encoded, [KIND])
    before = {path.name: path.read_bytes() for path in encoded.latents(KIND).glob("*.tar")}
    more = write_photographs(encoded, 61)
    (summary,) = extract(replace(more, settings=encoded.settings), [KIND])
    assert (summary.shards, summary.skipped) == (3, 2)
    after = {path.name: path.read_bytes() for path in encoded.latents(KIND).glob("*.tar")}
    assert [name for name in before if before[name] != after[name]] == ["000002.tar"]


def test_from_the_command_line(encoded, invoke, monkeypatch):
    monkeypatch.chdir(encoded.root)
    settings = encoded.settings.diffusion
    sizes = ("--image-size", "32", "--patch-size", "2", "--aspect", "1.5")
    space = ("--autoencoder", settings.autoencoder, *sizes)
    train_prior(encoded)
    tiny = [
        *("--set", "diffusion.layers=1", "--set", "diffusion.heads=2", "--head-dim", "8"),
        *("--pixel-channels", "8", "--batch-size", "6", "--steps", "3", "--z", "boxes"),
    ]
    missing = invoke("train", "diffusion", "--space", "latents", *space, *tiny, code=1)
    assert "kaleido extract image-latents" in missing.err
    invoke("extract", KIND, *space)
    assert KIND in invoke("status").out
    refused = invoke("train", "diffusion", "--space", "latents", *space[:-1], "1.2", *tiny, code=1)
    assert "aspect" in refused.err
    said = invoke("train", "diffusion", "--space", "latents", *space, *tiny)
    assert "Sizes: 40x24" in said.err
    invoke("sample", "a dark square", "--n", "2", "--steps", "2", "--name", "a", "--size", "24x40")
    listed = (encoded.root / "samples/a/samples.jsonl").read_text().splitlines()
    rows = [json.loads(line) for line in listed]
    picture = decode_image((encoded.root / "samples/a" / rows[0]["file"]).read_bytes())
    assert len(rows) == 2 and picture.shape == (40, 24, 3)
    assert invoke("sample", "a", "--n", "1", "--steps", "1", "--size", "64", code=1).err


def test_the_model_holds_its_autoencoder(encoded):
    extract(encoded, [KIND])
    train_prior(encoded)
    train_diffusion(encoded)
    model = Diffusion.load(encoded.models("diffusion"))
    assert (model.image_size, model.denoiser.config.in_channels) == (32, 4)
    assert model.canvas((24, 40)) == (4, 6, 10) and not model.bounded
    original = find_autoencoder(encoded.settings.diffusion.autoencoder)
    assert model.space.identity == original.identity
    latents = torch.randn(1, 4, 6, 10)
    again = LatentSpace.load(original.folder, original.identity)
    pictures = model.pictures(latents)
    assert pictures.shape == (1, 24, 40, 3) and pictures.dtype == np.uint8
    wanted = ((again.decode(latents).clamp(-1, 1) + 1) * 127.5).round()
    assert np.abs(pictures[0] - wanted[0].permute(1, 2, 0).numpy()).max() <= 1
    others = adapt(encoded, diffusion__pretrained=str(encoded.models("diffusion")))
    pixels = adapt(others, diffusion__space="pixels", diffusion__image_size=8)
    with pytest.raises(KaleidoError) as caught:
        train_diffusion(pixels, restart=True)
    assert caught.value.code == "model-mismatch"


def test_deep_compression_too(encoded, tmp_path):
    deep = adapt(encoded, diffusion__autoencoder=str(save_dc(tmp_path / "dc")))
    extract(deep, [KIND])
    train_prior(deep)
    train_diffusion(adapt(deep, diffusion__steps=1))
    assert Diffusion.load(deep.models("diffusion")).shapes[0] == (24, 40)


def test_what_must_be_there_is_named(encoded):
    train_prior(encoded)
    with pytest.raises(InputMissing) as caught:
        train_diffusion(encoded)
    assert "kaleido extract image-latents" in caught.value.hint
    with pytest.raises(KaleidoError) as caught:
        train_diffusion(adapt(encoded, diffusion__autoencoder=""))
    assert caught.value.code == "bad-option"
    with pytest.raises(KaleidoError) as caught:
        train_diffusion(adapt(encoded, diffusion__image_size=36))
    assert caught.value.code == "bad-setting"


def test_a_dry_run_counts_the_latent_channels(encoded):
    extract(encoded, [KIND])
    train_prior(encoded)
    latents = diffusion_footprint(encoded)
    pixels = diffusion_footprint(adapt(encoded, diffusion__space="pixels"))
    assert latents.memory["activations"] < pixels.memory["activations"] / 4


def test_latents_are_kept_as_they_are_and_nothing_else_is_read():
    values = np.random.default_rng(0).normal(size=(4, 3, 5)).astype(np.float16)
    data = ImageLatents(values).to_bytes()
    assert np.array_equal(ImageLatents.from_bytes(data).values, values)
    for wrong in (b"", data[:-1], data + b"x", b"\x93NUMPY\x02\x00" + data[8:], data[:20]):
        with pytest.raises(LatentError):
            ImageLatents.from_bytes(wrong)
    for bad in (values.astype(np.float32), values[0], np.full((1, 1, 1), np.inf, np.float16)):
        with pytest.raises(LatentError):
            ImageLatents(bad).validate()

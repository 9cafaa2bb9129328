"""Visual tokenizers: tiny networks of the real classes, and the real sizes without weights."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
import transformers as tf
from diffusers import VQModel
from safetensors.torch import load_file, save_file

from pipelines.core.errors import KaleidoError
from pipelines.extract.tokenizers import titok
from pipelines.extract.tokenizers.base import TokenizerRef
from pipelines.extract.tokenizers.codecs import build
from pipelines.extract.tokenizers.find import find_tokenizer
from pipelines.extract.tokenizers.loading import load_tokenizer, nearest
from tests.extract import visual_models

FAMILIES = ("diffusers", "chameleon", "janus", "emu3", "llamagen", "titok")
GRIDS = {"llamagen": (8, 8), "titok": (1, 8)}
RNG = np.random.default_rng(0)
IMAGES = [RNG.integers(80 * i, 80 * i + 80, (32, 32, 3), np.uint8) for i in range(3)]


@pytest.fixture
def folder(request, tmp_path, monkeypatch):
    """A saved tokenizer of the family that the test asks for."""
    monkeypatch.setitem(titok.SIZES, "large", (32, 2, 2))
    getattr(visual_models, request.param)(tmp_path / request.param)
    return tmp_path / request.param


each_family = pytest.mark.parametrize("folder", FAMILIES, indirect=True)


@each_family
def test_pictures_become_grids_of_ids(folder):
    model = find_tokenizer(str(folder))
    assert model.family == folder.name
    tokenizer = load_tokenizer(model)
    grids = tokenizer.encode(IMAGES)
    assert {grid.shape for grid in grids} == {GRIDS.get(folder.name, (16, 16))}
    assert all(grid.min() >= 0 and grid.max() < tokenizer.codebook_size for grid in grids)
    assert not np.array_equal(grids[0], grids[1])


@each_family
def test_a_picture_is_written_alike_alone_and_among_others(folder):
    tokenizer = load_tokenizer(find_tokenizer(str(folder)))
    together = tokenizer.encode(IMAGES)
    for image, grid in zip(IMAGES, together, strict=True):
        np.testing.assert_array_equal(tokenizer.encode([image])[0], grid)
    tokenizer._together = 2  # as on a GPU
    for one, other in zip(tokenizer.encode(IMAGES), together, strict=True):
        assert (one == other).mean() > 0.97


@each_family
def test_other_weights_are_another_tokenizer(folder):
    first = find_tokenizer(str(folder)).identity
    (path,) = folder.glob("*.safetensors")
    weights = load_file(path)
    weights["quantize.embedding.weight"] += 1.0
    save_file(weights, path, metadata={"format": "pt"})
    assert find_tokenizer(str(folder)).identity != first


def pixels(images):
    return torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2) / 127.5 - 1.0


@pytest.mark.parametrize("folder", ["chameleon", "emu3"], indirect=True)
def test_ids_are_those_of_transformers(folder):
    network = {"chameleon": tf.ChameleonVQVAE, "emu3": tf.Emu3VQVAE}[folder.name]
    model = network.from_pretrained(folder)
    sizes = {"image_sizes": torch.tensor([[32, 32]] * 3)} if folder.name == "emu3" else {}
    with torch.no_grad():
        tokens = model.encode(pixels(IMAGES), **sizes).image_tokens
    tokens = tokens if isinstance(tokens, torch.Tensor) else torch.stack(tokens)
    ours = np.stack(load_tokenizer(find_tokenizer(str(folder))).encode(IMAGES))
    assert (ours.ravel() == tokens.flatten().numpy()).mean() > 0.97


@pytest.mark.parametrize("folder", ["diffusers"], indirect=True)
def test_ids_are_those_of_diffusers(folder):
    model = VQModel.from_pretrained(folder)
    with torch.no_grad():
        _, _, (_, _, ids) = model.quantize(model.encode(pixels(IMAGES)).latents)
    ours = np.stack(load_tokenizer(find_tokenizer(str(folder))).encode(IMAGES))
    assert (ours.ravel() == ids.flatten().numpy()).mean() > 0.97


def test_entries_may_be_compared_by_direction():
    states, entries = torch.tensor([[[1.0]], [[1.0]]]), torch.tensor([[9.0, 9.0], [1.0, 0.5]])
    assert nearest(states, entries, False).item() == 1
    assert nearest(states, entries, True).item() == 0


@pytest.mark.parametrize("folder", ["chameleon", "janus", "emu3"], indirect=True)
def test_a_tokenizer_inside_a_checkpoint(folder, tmp_path):
    alone = load_tokenizer(find_tokenizer(str(folder))).encode(IMAGES)
    whole = tmp_path / "whole"
    whole.mkdir()
    config = {
        "model_type": folder.name,
        "vq_config": json.loads((folder / "config.json").read_text()),
    }
    (whole / "config.json").write_text(json.dumps(config))
    weights = load_file(folder / "model.safetensors")
    inside = {f"model.vqmodel.{name}": value for name, value in weights.items()}
    save_file(inside | {"model.norm.weight": torch.ones(2)}, whole / "model-2-of-2.safetensors")
    save_file({"lm_head.weight": torch.ones(2)}, whole / "model-1-of-2.safetensors")
    places = dict.fromkeys(inside, "model-2-of-2.safetensors")
    places["lm_head.weight"] = "model-1-of-2.safetensors"
    index = json.dumps({"weight_map": places})
    (whole / "model.safetensors.index.json").write_text(index)
    model = find_tokenizer(str(whole))
    np.testing.assert_array_equal(load_tokenizer(model).encode(IMAGES), alone)
    save_file({"lm_head.weight": torch.zeros(2)}, whole / "model-1-of-2.safetensors")
    assert find_tokenizer(str(whole)).identity == model.identity


@pytest.mark.parametrize("folder", ["diffusers"], indirect=True)
def test_a_pipeline_names_its_vqmodel_and_its_range(folder, tmp_path):
    alone = find_tokenizer(str(folder))
    folder.rename(tmp_path / "vqvae")
    index = {"_class_name": "AmusedPipeline", "vqvae": ["diffusers", "VQModel"]}
    (tmp_path / "model_index.json").write_text(json.dumps(index))
    model = find_tokenizer(str(tmp_path))
    assert (model.folder, model.from_zero) == (tmp_path / "vqvae", True)
    assert model.identity != alone.identity
    preprocessing = build(model).preprocessing
    assert preprocessing.prepare(np.full((2, 2, 3), 255, np.uint8)).unique().tolist() == [1.0]
    assert preprocessing.prepare(np.zeros((2, 2, 3), np.uint8)).unique().tolist() == [0.0]
    index["vqvae"] = ["diffusers", "AutoencoderKL"]
    (tmp_path / "model_index.json").write_text(json.dumps(index))
    with pytest.raises(KaleidoError) as caught:
        find_tokenizer(str(tmp_path))
    assert caught.value.code == "bad-model"


def test_pictures_that_the_grid_does_not_divide_are_refused(tmp_path):
    visual_models.llamagen(tmp_path)
    tokenizer = load_tokenizer(find_tokenizer(str(tmp_path)))
    assert tokenizer.refusal(32, 64) == ""
    assert "4 x 4 pixels, which does not divide an image of 34 x 32" in tokenizer.refusal(32, 34)
    shapes = [grid.shape for grid in tokenizer.encode([IMAGES[0], IMAGES[0][:16]])]
    assert shapes == [(8, 8), (4, 8)]


@pytest.mark.parametrize(
    "config", ["{", '{"model_type": "bert"}', '{"_class_name": "AutoencoderKL"}', "[]"]
)
def test_a_folder_of_something_else_is_named(tmp_path, config):
    visual_models.llamagen(tmp_path)
    (tmp_path / "config.json").write_text(config)
    with pytest.raises(KaleidoError) as caught:
        find_tokenizer(str(tmp_path))
    assert caught.value.code == "bad-model" and str(tmp_path) in caught.value.what


@each_family
def test_weights_that_do_not_belong_are_told(folder):
    (path,) = folder.glob("*.safetensors")
    weights = load_file(path)
    save_file({name: value for name, value in weights.items() if "quant" not in name}, path)
    with pytest.raises(KaleidoError) as caught:
        load_tokenizer(find_tokenizer(str(folder)))
    assert caught.value.code == "bad-model" and "missing" in caught.value.why
    path.write_bytes(b"\0" * 64)
    with pytest.raises(KaleidoError) as caught:
        find_tokenizer(str(folder))
    assert caught.value.code == "bad-model"


@pytest.mark.parametrize("name", ["vq_ds16_c2i.pt", "model.bin"])
def test_pickles_are_not_read(tmp_path, name):
    (tmp_path / name).write_bytes(b"a pickle")
    with pytest.raises(KaleidoError) as caught:
        find_tokenizer(str(tmp_path / name))
    assert caught.value.code == "bad-option"
    (tmp_path / "config.json").write_text(json.dumps(visual_models.LLAMAGEN))
    with pytest.raises(KaleidoError) as caught:
        find_tokenizer(str(tmp_path))
    assert caught.value.code == "bad-model"


AMUSED = {
    "_class_name": "VQModel",
    "block_out_channels": [128, 256, 256, 512, 768],
    "down_block_types": ["DownEncoderBlock2D"] * 5,
    "up_block_types": ["UpDecoderBlock2D"] * 5,
    "latent_channels": 64,
    "layers_per_block": 2,
    "mid_block_add_attention": False,
    "num_vq_embeddings": 8192,
    "vq_embed_dim": 64,
}
REAL = {
    "amused-256": ("diffusers", AMUSED, 256, (64, 16, 16), 8192),
    "chameleon-7b": ("chameleon", {}, 512, (256, 32, 32), 8192),
    "Janus-Pro-1B": ("janus", {"num_patches": 24}, 384, (8, 24, 24), 16384),
    "Emu3-VisionTokenizer": ("emu3", {}, 256, (4, 32, 32), 32768),
    "VQ-16": ("llamagen", {"encoder_ch_mult": [1, 1, 2, 2, 4]}, 256, (8, 16, 16), 16384),
    "VQ-8": ("llamagen", {"encoder_ch_mult": [1, 2, 2, 4]}, 256, (8, 32, 32), 16384),
    "TiTok-L-32": ("titok", visual_models.TITOK, 256, (12, 1, 32), 4096),
}


@pytest.mark.parametrize("name", REAL)
def test_real_sizes(tmp_path, name):
    family, config, side, states, codebook = REAL[name]
    with torch.device("meta"):
        codec = build(TokenizerRef(name, family, "", tmp_path, config))
        found = codec.states(torch.zeros(1, 3, side, side))
    assert found.shape[1:] == states
    assert (codec.codebook.num_embeddings, codec.codebook.embedding_dim) == (codebook, states[0])
    assert codec.preprocessing.side in (None, side)

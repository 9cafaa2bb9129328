from dataclasses import replace

import numpy as np
import pytest
import torch

from pipelines.core.progress import SILENT
from pipelines.evaluate.adherence.tokens import Retokenizer, retokenizer, token_adherence
from pipelines.extract.run import extract
from pipelines.latents.sequence import z_to_text
from pipelines.latents.tokens import Tokens
from pipelines.models.tokenizer import build_tokenizer
from pipelines.scenes.generate import write_scenes
from pipelines.train.tokenizer import train_tokenizer
from pipelines.workspace.config import override
from pipelines.workspace.settings import TokenizerSettings
from tests.conftest import Told

SETTINGS = {
    "tokenizer.channels": (8, 8),
    "tokenizer.codebook_size": 16,
    "tokenizer.steps": 3,
    "tokenizer.decoder_steps": 2,
    "tokenizer.batch_size": 8,
}


@pytest.fixture
def reader(request):
    torch.manual_seed(0)
    entries = getattr(request, "param", 24)
    settings = TokenizerSettings(patch_size=2, channels=(8, 16), codebook_size=entries, code_dim=4)
    tokenizer = build_tokenizer(settings, 16)
    torch.nn.init.normal_(tokenizer.model.quantize.embedding.weight, std=0.5)
    tokenizer.model.eval()
    return Retokenizer(tokenizer)


@pytest.fixture
def images():
    return np.random.default_rng(0).integers(0, 256, (4, 16, 16, 3), dtype=np.uint8)


def test_a_picture_has_its_own_tokens_and_others_do_not(reader, images):
    z = [z_to_text({"tokens": reader.tokens(image)}) for image in images]
    ids = reader.read(images, z)
    assert ids.shape == (4, 2, 16) and ids.dtype == np.int32
    got = token_adherence(z, ids)
    assert got["tokens"] == 1.0
    # An untrained decoder does not draw what its encoder reads.
    assert 0.0 <= got["tokens.reconstructed"] < 1.0
    assert token_adherence([*z[1:], *z[:1]], ids)["tokens"] < 0.6


@pytest.mark.parametrize("reader", [40_000], indirect=True)
def test_ids_of_large_codebooks_are_kept(reader, images):
    reader._tokenizer.model.quantize.embedding.weight.data[:32_768] = 1e6  # never the nearest
    tokens = reader.tokens(images[0])
    assert min(tokens.ids) > np.iinfo(np.int16).max
    z = z_to_text({"tokens": tokens})
    assert token_adherence([z], reader.read(images[:1], [z]))["tokens"] == 1.0


def test_the_ceiling_is_of_the_tokenizers_own_picture(reader, images):
    tokens = reader.tokens(images[0])
    z = z_to_text({"tokens": tokens})
    drawn = reader._tokenizer.decode(torch.tensor(tokens.ids).reshape(1, 4, 4))
    pixels = ((drawn[0].permute(1, 2, 0) + 1.0) * 127.5).round().numpy().astype(np.uint8)
    again = reader.tokens(pixels).ids
    assert reader.read(images[:1], [z])[0, 1].tolist() == list(again)


def test_pictures_of_another_size_are_resized(reader, images):
    small = images[:, ::2, ::2]
    z = [z_to_text({"tokens": reader.tokens(image)}) for image in images]
    assert reader.read(small, z).shape == (4, 2, 16)


def test_z_without_tokens_or_of_another_grid_is_unknown(reader, images):
    other = z_to_text({"tokens": Tokens(1, 2, 24, (3, 4))})
    ids = reader.read(images, [other, "", "<tokens> <1>", other])
    assert (ids[:, 1] == -1).all()
    assert np.isnan(list(token_adherence([other, "", "", ""], ids).values())).all()


def test_the_workspaces_tokenizer_serves_if_it_made_the_tokens(workspace):
    workspace = replace(workspace, settings=override(workspace.settings, SETTINGS))
    told = Told()
    assert retokenizer(workspace, told) is None and "has no tokenizer" in told.said[-1]
    write_scenes(workspace, 20, seed=3, size=16)
    train_tokenizer(workspace)
    extract(workspace, ["tokens"])
    found = retokenizer(workspace, SILENT)
    assert found is not None and found.name.startswith("vq@") and len(found.name) == 11
    more = replace(workspace, settings=override(workspace.settings, {"tokenizer.steps": 4}))
    train_tokenizer(more)
    assert retokenizer(more, told) is None and "trained again since" in told.said[-1]

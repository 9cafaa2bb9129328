"""The tokenizer writes pictures as nearest entries of its codebook, and reads them back."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from pipelines.core.errors import InputMissing, KaleidoError
from pipelines.models.tokenizer import Tokenizer, build_tokenizer
from pipelines.workspace.settings import TokenizerSettings

SETTINGS = TokenizerSettings(patch_size=2, channels=(8, 16), codebook_size=24, code_dim=4)


@pytest.fixture
def tokenizer() -> Tokenizer:
    """Untrained, for 16 pixels and 4 x 4 tokens; its codebook is as wide as the states."""
    torch.manual_seed(0)
    made = build_tokenizer(SETTINGS, 16)
    torch.nn.init.normal_(made.model.quantize.embedding.weight, std=0.5)
    made.model.eval()
    return made


@pytest.fixture
def images() -> torch.Tensor:
    return torch.rand(5, 3, 16, 16, generator=torch.Generator().manual_seed(1)) * 2.0 - 1.0


def test_images_become_a_grid_of_ids_and_ids_become_images(tokenizer, images) -> None:
    ids = tokenizer.encode(images)
    assert (ids.shape, ids.dtype) == ((5, 4, 4), torch.int64)
    assert 0 <= ids.min() < ids.max() < tokenizer.codebook_size == 24
    drawn = tokenizer.decode(ids)
    assert (drawn.shape, drawn.dtype) == (images.shape, torch.float32)
    assert -1.0 <= drawn.min() < drawn.max() <= 1.0


@pytest.mark.parametrize(
    ("patch_size", "channels", "grid"), [(8, (16,), 8), (8, (8, 16), 4), (4, (8, 16), 8)]
)
def test_blocks_and_patches_set_the_number_of_tokens(patch_size, channels, grid) -> None:
    settings = replace(SETTINGS, patch_size=patch_size, channels=channels)
    tokenizer = build_tokenizer(settings, 64)
    assert tokenizer.grid == grid
    assert tokenizer.encode(torch.zeros(1, 3, 64, 64)).shape == (1, grid, grid)


def test_the_nearest_entry_is_chosen(tokenizer, images) -> None:
    with torch.no_grad():
        states = tokenizer.states(images)
    codebook = tokenizer.model.quantize.embedding.weight.detach()
    distance = (states[:, None] - codebook[None, :, :, None, None]).square().sum(2)
    assert torch.equal(tokenizer.encode(images), distance.argmin(1))


def test_bf16_does_not_blur_the_distances(tokenizer) -> None:
    codebook = tokenizer.model.quantize.embedding.weight
    with torch.no_grad():
        # Neighbours that bf16, with 8 bits of mantissa, cannot tell apart.
        codebook.copy_(1.0 + 1e-4 * torch.arange(24.0)[:, None].expand(24, 4))
        states = codebook.T.reshape(1, 4, 4, 6)
    with torch.autocast("cpu", torch.bfloat16):
        ids = tokenizer.quantize(states)
    assert torch.equal(ids.flatten(), torch.arange(24))


def test_ids_do_not_depend_on_the_batch(tokenizer, images) -> None:
    alone = torch.cat([tokenizer.encode(image[None]) for image in images])
    assert torch.equal(alone, tokenizer.encode(images))


def test_a_token_changes_the_picture_where_it_stands(tokenizer, images) -> None:
    ids = tokenizer.encode(images)
    other = ids.clone()
    other[:, 0, 0] = (other[:, 0, 0] + 7) % 24
    change = (tokenizer.decode(other) - tokenizer.decode(ids)).abs().mean((0, 1))
    assert change[:4, :4].mean() > change[-4:, -4:].mean()


def test_what_was_saved_is_loaded(tokenizer, images, tmp_path) -> None:
    assert tokenizer.identity == ""
    tokenizer.save(tmp_path / "tokenizer")
    loaded = Tokenizer.load(tmp_path / "tokenizer")
    assert (loaded.image_size, loaded.patch_size, loaded.grid) == (16, 2, 4)
    ids = tokenizer.encode(images)
    assert torch.equal(loaded.encode(images), ids)
    assert torch.equal(loaded.decode(ids), tokenizer.decode(ids))
    assert not loaded.model.training
    assert _suffixes(tmp_path) == {".json", ".safetensors"}


def test_the_identity_is_that_of_the_weights(tokenizer, tmp_path) -> None:
    tokenizer.save(tmp_path / "one")
    first = Tokenizer.load(tmp_path / "one").identity
    assert first == tokenizer.identity != ""
    tokenizer.save(tmp_path / "same")
    assert tokenizer.identity == first
    with torch.no_grad():
        tokenizer.model.quantize.embedding.weight[3] += 0.1
    tokenizer.save(tmp_path / "other")
    assert tokenizer.identity != first


def test_no_tokenizer_names_the_command(tmp_path) -> None:
    with pytest.raises(InputMissing):
        Tokenizer.load(tmp_path)


@pytest.mark.parametrize("shape", [(1, 3, 32, 32), (1, 1, 16, 16)])
def test_images_of_another_shape_are_refused(tokenizer, shape) -> None:
    with pytest.raises(KaleidoError) as caught:
        tokenizer.encode(torch.zeros(shape))
    assert caught.value.code == "model-mismatch"


def test_sizes_that_do_not_fit_are_refused() -> None:
    with pytest.raises(KaleidoError) as caught:
        build_tokenizer(SETTINGS, 18)
    assert caught.value.code == "model-mismatch"
    with pytest.raises(KaleidoError) as caught:
        build_tokenizer(replace(SETTINGS, channels=(8, 12)), 16)
    assert caught.value.code == "bad-setting"


def _suffixes(folder: Path) -> set[str]:
    return {path.suffix for path in folder.rglob("*") if path.is_file()}

"""Finite scalar quantization: ids are local, flat paper has one, and every id has its vector."""

from __future__ import annotations

import pytest
import torch

from pipelines.core.errors import KaleidoError
from pipelines.models.tokenizer import FsqTokenizer, Tokenizer, build_tokenizer
from pipelines.workspace.settings import TokenizerSettings

SETTINGS = TokenizerSettings(quantizer="fsq", patch_size=2, channels=(8, 16), levels=(8, 5, 4))


@pytest.fixture
def tokenizer() -> FsqTokenizer:
    """An untrained one for pictures of 64 pixels, whose blocks do something."""
    torch.manual_seed(0)
    made = build_tokenizer(SETTINGS, 64)
    assert isinstance(made, FsqTokenizer)
    for parameter in made.model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    made.model.eval()
    return made


def _pictures(seed: int = 0) -> torch.Tensor:
    return torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def test_a_repainted_corner_changes_no_id_beyond_the_reach(tokenizer) -> None:
    images = _pictures()
    repainted = images.clone()
    repainted[:, :, :12, :12] = -repainted[:, :, :12, :12]
    changed = (tokenizer.encode(images) != tokenizer.encode(repainted)).any(0)
    side, reach = 64 // tokenizer.grid, tokenizer.reach
    assert reach == 2 * (1 + 1 + 2)
    begins = torch.arange(tokenizer.grid) * side
    far = (begins >= 12 + reach)[:, None] | (begins >= 12 + reach)
    assert changed[:2, :2].any() and not changed[far].any()
    assert changed[~far].float().mean() > 0.5  # so the bound is not a loose one


@pytest.mark.parametrize("colour", [(0.9, 0.9, 0.8), (-1.0, 0.3, 0.1), (0.0, 0.0, 0.0)])
def test_flat_paper_has_few_ids(tokenizer, colour) -> None:
    paper = torch.tensor(colour)[None, :, None, None].expand(1, 3, 64, 64).contiguous()
    assert len(tokenizer.encode(paper).unique()) <= 4


def test_every_id_has_a_vector_that_is_rounded_to_it(tokenizer) -> None:
    assert tokenizer.codebook_size == 8 * 5 * 4
    ids = torch.arange(tokenizer.codebook_size).view(1, 16, 10)
    entries = tokenizer.entries(ids)
    assert torch.equal(tokenizer.quantize(entries), ids)
    assert entries.shape == (1, 3, 16, 10) and entries.abs().max() == 1.0
    assert len(entries.flatten(2).permute(0, 2, 1).reshape(-1, 3).unique(dim=0)) == 160


def test_all_levels_are_within_reach_of_the_encoder(tokenizer) -> None:
    torch.nn.init.normal_(tokenizer.model.to_code.weight, std=20.0)
    states = tokenizer.states(_pictures())
    ids = tokenizer.quantize(states)
    assert ids.min() >= 0 and ids.max() < tokenizer.codebook_size
    digits = tokenizer.model.entries(ids)
    assert digits.amin((0, 2, 3)).tolist() == [-1.0, -1.0, -1.0]
    assert digits.amax((0, 2, 3)).tolist() == [0.75, 1.0, 0.5]
    assert (states - digits).abs().max() < 0.51 / 2  # half a step of the coarsest value


def test_a_saved_one_gives_the_same_ids(tokenizer, tmp_path) -> None:
    tokenizer.save(tmp_path / "tokenizer")
    again = Tokenizer.load(tmp_path / "tokenizer")
    assert isinstance(again, FsqTokenizer) and again.identity == tokenizer.identity
    images = _pictures(1)
    assert torch.equal(again.encode(images), tokenizer.encode(images))
    assert torch.equal(again.decode(again.encode(images)), tokenizer.decode(again.encode(images)))


def test_a_coarse_grid_is_one_of_more_levels() -> None:
    coarse = build_tokenizer(TokenizerSettings(quantizer="fsq", channels=(8, 8, 8)), 64)
    assert (coarse.grid, coarse.codebook_size) == (4, 1000)
    with pytest.raises(KaleidoError):
        build_tokenizer(TokenizerSettings(quantizer="fsq", channels=(8, 8, 8)), 40)

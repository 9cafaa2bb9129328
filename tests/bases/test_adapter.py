from __future__ import annotations

from dataclasses import replace
from typing import Any

import diffusers
import numpy as np
import pytest
import torch

from pipelines.bases.adapter import KaleidoAdapter, z_text_of
from pipelines.bases.draw import Picture, draw
from pipelines.bases.loop import Guidance
from pipelines.bases.registry import FAMILIES
from pipelines.core.errors import KaleidoError
from pipelines.documents.document import Document
from pipelines.documents.element import Element
from pipelines.latents.vocabulary import train_tokenizer
from pipelines.models.adapter import ZRows
from tests.bases.real_sizes import REAL, SDXL_UNET
from tests.bases.test_families import PROMPTS, SEEDS, ours, stock

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

NAMES = [family.name for family in FAMILIES if family.dialect == "words"]
KINDS = ("boxes",)
Z = [
    "<boxes> cat <100><100><500><500>",
    "<boxes> dog <0><0><500><500> <;> dog <500><500><1000><900>",
]


def fresh(base, **options: Any) -> KaleidoAdapter:
    """Return an untrained adapter for a tiny base."""
    torch.manual_seed(0)
    tokenizer = train_tokenizer(["cat", "dog"], 1400, KINDS)
    sizes = {"width": 32, "inner": 32, "heads": 2} | options
    return KaleidoAdapter.of_base(base.family, base.denoiser, tokenizer, KINDS, **sizes).eval()


def opened(base, **options: Any) -> KaleidoAdapter:
    """Return an adapter whose branches have output."""
    adapter = fresh(base, **options)
    for branch in adapter.branches:
        torch.nn.init.normal_(branch.out.weight, std=0.5)
    return adapter


def pictures(base, z=Z, cfg: float = 4.0) -> np.ndarray:
    picture = Picture(64, 64, Guidance(2, cfg), batch_size=2)
    return np.stack(list(draw(base, PROMPTS, SEEDS, picture, z)))


@pytest.mark.parametrize("name", NAMES)
class TestAllFamilies:
    def test_untrained_and_removed_it_changes_no_bit(self, name, loaded):
        base = loaded(name)
        plain, by_pipe = pictures(base, None), stock(base, 5.0)
        adapter = fresh(base).attach(base.pipe)
        try:
            with_it = replace(base, adapter=adapter)
            np.testing.assert_array_equal(pictures(with_it), plain)
            adapter.show(Z)
            np.testing.assert_array_equal(stock(base, 5.0), by_pipe)
        finally:
            adapter.detach()
        adapter = opened(base).attach(base.pipe)
        assert np.abs(pictures(replace(base, adapter=adapter)).astype(int) - plain).max() > 1
        adapter.detach()
        np.testing.assert_array_equal(pictures(base, None), plain)
        assert not base.denoiser._diffusers_hook.hooks

    def test_the_stock_pipeline_reads_z_as_our_loop_does(self, name, loaded):
        base = loaded(name)
        adapter = opened(base).attach(base.pipe)
        try:
            adapter.show(Z)
            by_pipe = stock(base, 5.0)
            by_us = ours(replace(base, adapter=adapter), z=Z)
            assert np.abs(by_pipe - by_us).max() < 1e-5
            adapter.show(Z[::-1])
            assert np.abs(by_pipe - stock(base, 5.0)).max() > 1e-4
        finally:
            adapter.detach()

    def test_it_knows_where_image_tokens_are(self, name, loaded, monkeypatch):
        grids: list[Any] = []
        bias = ZRows.bias

        def noted(self: ZRows, grid: Any, heads: int) -> torch.Tensor:
            grids.append(grid)
            return bias(self, grid, heads)

        monkeypatch.setattr(ZRows, "bias", noted)
        base = loaded(name)
        adapter = opened(base).attach(base.pipe)
        try:
            wide = Picture(64, 128, Guidance(2, 4.0), batch_size=1)
            list(draw(replace(base, adapter=adapter), PROMPTS[:1], SEEDS[:1], wide, Z[:1]))
            assert grids and all(rows * 2 == columns for rows, columns in grids)
            grids.clear()
            adapter.show(Z)
            stock(base, 5.0)
            assert grids and all(rows == columns for rows, columns in grids)
        finally:
            adapter.detach()


@pytest.mark.parametrize(
    ("kind", "config", "family", "count"),
    [
        ("UNet2DConditionModel", SDXL_UNET, "sdxl", 70),
        ("UNet2DConditionModel", REAL["sd15"]["unet"], "sd15", 16),
        ("PixArtTransformer2DModel", {}, "pixart-sigma", 28),
        ("SanaTransformer2DModel", {}, "sana", 20),
        ("SD3Transformer2DModel", {}, "sd3", 18),
        ("FluxTransformer2DModel", {}, "flux1", 57),
        ("Flux2Transformer2DModel", REAL["flux2-klein"]["transformer"], "flux2-klein", 25),
        ("QwenImageTransformer2DModel", {}, "qwen-image", 60),
        ("ZImageTransformer2DModel", {}, "z-image", 30),
        ("Lumina2Transformer2DModel", {}, "lumina2", 26),
    ],
)
def test_every_block_of_a_published_size_is_found(kind, config, family, count):
    with torch.device("meta"):
        denoiser = getattr(diffusers, kind)(**config)
    (found,) = (each for each in FAMILIES if each.name == family)
    blocks = found.blocks(denoiser)
    assert len(blocks) == count
    assert all(denoiser.get_submodule(block.name) is block.module for block in blocks)
    with torch.device("meta"):
        tokenizer = train_tokenizer(["cat"], 1400, KINDS)
        adapter = KaleidoAdapter.of_base(found, denoiser, tokenizer, KINDS)
    assert 5e6 < sum(value.numel() for value in adapter.parameters()) < 7e7


def test_each_row_is_added_to_at_its_own_place(loaded):
    """The texts of a batch differ in length, and with them the places of the pictures."""
    base = loaded("lumina2")
    adapter = opened(base).attach(base.pipe)
    try:
        with_it = replace(base, adapter=adapter)
        together, alone = ours(with_it, z=Z), ours(with_it, PROMPTS[1:], SEEDS[1:], z=Z[1:])
        assert np.abs(together[1:] - alone).max() < 1e-5
    finally:
        adapter.detach()


def test_a_wrong_number_of_z_is_refused(loaded):
    base = loaded("sana")
    adapter = fresh(base).attach(base.pipe)
    try:
        adapter.show([*Z, Z[0]])
        with pytest.raises(KaleidoError) as caught:
            stock(base, 5.0)
        assert caught.value.code == "bad-data"
    finally:
        adapter.detach()


def test_another_family_or_size_is_refused(loaded):
    adapter = fresh(loaded("sana"))
    with pytest.raises(KaleidoError) as caught:
        adapter.attach(loaded("sd3").pipe)
    assert caught.value.code == "model-mismatch"


def test_it_is_attached_once(loaded):
    base = loaded("sana")
    adapter = fresh(base)
    with pytest.raises(KaleidoError):
        adapter.show(Z)
    adapter.attach(base.pipe)
    try:
        for each in (adapter, fresh(base)):
            with pytest.raises(KaleidoError) as caught:
                each.attach(base.pipe)
            assert caught.value.code == "bad-option"
    finally:
        adapter.detach()
    fresh(base).attach(base.pipe).detach()


def test_saved_and_loaded_it_draws_the_same(loaded, tmp_path):
    base = loaded("flux2-klein")
    adapter = opened(base)
    adapter.save_pretrained(tmp_path)
    drawn = []
    for each in (adapter, KaleidoAdapter.from_pretrained(tmp_path)):
        each.attach(base.pipe).show(Z)
        drawn.append(stock(base, 5.0))
        each.detach()
    np.testing.assert_array_equal(*drawn)


def test_documents_and_texts_are_z():
    document = Document(elements=(Element(id="e", label="cat", box=(0.1, 0.1, 0.5, 0.5)),))
    assert z_text_of(document, KINDS) == z_text_of(document.to_json(), KINDS) == Z[0]
    with pytest.raises(KaleidoError) as caught:
        z_text_of(document, ("palette",))
    assert caught.value.code == "bad-data"

"""The denoiser predicts clean images and is blind to padding."""

from __future__ import annotations

import torch

from pipelines.models.denoiser import OFFSET_FEATURES, KaleidoTransformer2DModel, PixelHead


def _denoiser() -> KaleidoTransformer2DModel:
    torch.manual_seed(0)
    model = KaleidoTransformer2DModel(
        sample_size=16,
        patch_size=4,
        num_layers=2,
        num_attention_heads=2,
        attention_head_dim=16,
        context_dim=24,
    )
    torch.nn.init.normal_(model.proj_out.out.weight, std=0.1)
    return model.eval()


@torch.no_grad()
def _predict(
    model: KaleidoTransformer2DModel, context: torch.Tensor, mask: torch.Tensor
) -> torch.Tensor:
    noisy = torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    time = torch.tensor([200.0, 700.0])
    places = torch.tensor([0.0, 0.0, 1.0, 1.0]).expand(*mask.shape, 4)
    return model(noisy, time, model.prepare(context, mask, places))


def test_output_is_an_image_and_starts_at_zero() -> None:
    fresh = KaleidoTransformer2DModel(
        sample_size=16, patch_size=4, num_layers=1, num_attention_heads=2, context_dim=24
    )
    out = _predict(fresh, torch.randn(2, 5, 24), torch.ones(2, 5))
    assert out.shape == (2, 3, 16, 16)
    assert not out.any()


def test_padded_context_changes_nothing() -> None:
    model = _denoiser()
    context = torch.randn(2, 7, 24, generator=torch.Generator().manual_seed(2))
    mask = torch.ones(2, 7)
    mask[:, 4:] = 0
    other = context.clone()
    other[:, 4:] = 50.0
    assert torch.equal(_predict(model, context, mask), _predict(model, other, mask))


def test_the_context_matters() -> None:
    model = _denoiser()
    mask = torch.ones(2, 3)
    one = _predict(model, torch.zeros(2, 3, 24), mask)
    two = _predict(model, torch.randn(2, 3, 24), mask)
    assert not torch.allclose(one, two)


@torch.no_grad()
def test_patches_are_laid_out_where_they_came_from() -> None:
    head = PixelHead(width=8, patch_size=4, channels=2)
    torch.nn.init.normal_(head.out.weight)
    patches, features = torch.zeros(1, 16, 8), torch.zeros(1, 2, 8, 8)
    blank = head(patches, features, rows=4)
    patches[0, 1 * 4 + 2] = 1.0  # row 1, column 2
    changed = (head(patches, features, rows=4) != blank).any(1)[0]
    assert changed[4:8, 8:12].all()
    # Three convolutions at half the resolution reach six pixels beyond the patch.
    outside = changed.clone()
    outside[: 8 + 6, 8 - 6 :] = False
    assert not outside.any()


@torch.no_grad()
def test_a_pixel_is_seen_by_the_patches_around_it() -> None:
    model = _denoiser()  # 4 x 4 patches of 4 pixels
    noisy = torch.zeros(1, 3, 16, 16)
    blank = model.patch_embed(model.pixel_stem(noisy))
    noisy[0, :, 4, 8] = 1.0  # the upper left pixel of the patch in row 1, column 2
    seen = (model.patch_embed(model.pixel_stem(noisy)) != blank).any(-1).view(4, 4)
    assert seen[:2, 1:3].all()  # patches overlap, and the stem reaches further
    assert not seen[3].any()


def test_save_and_load_give_the_same_network(tmp_path) -> None:
    model = _denoiser()
    model.save_pretrained(tmp_path)
    loaded = KaleidoTransformer2DModel.from_pretrained(tmp_path).eval()
    context, mask = torch.randn(2, 3, 24), torch.ones(2, 3)
    assert torch.equal(_predict(model, context, mask), _predict(loaded, context, mask))
    assert (tmp_path / "diffusion_pytorch_model.safetensors").is_file()


def test_a_token_is_heard_best_in_its_place() -> None:
    model = _denoiser()  # 4 x 4 patches, 2 heads
    places = torch.tensor([[[0.0, 0.0, 1.0, 1.0], [0.5, 0.25, 0.75, 0.5]]])
    prepared = model.prepare(torch.zeros(1, 2, 24), torch.ones(1, 2), places)
    assert not prepared.bias[:, 0].any()  # one head hears all alike
    assert not prepared.bias[..., 0].any()  # as do all for a token of the whole picture
    local = prepared.bias[0, 1, :, 1].view(4, 4)
    assert local.argmax() == 1 * 4 + 2  # row 1, column 2
    assert (local == 0.0).sum() == 1
    # Row 3's centre lies 0.375 below the rectangle, column 0's 0.375 to its left.
    torch.testing.assert_close(local[3, 2], local[1, 0])
    torch.testing.assert_close(local[3, 0], -32.0 * torch.tensor(2 * 0.375**2).sqrt())


def test_a_patch_hears_where_it_lies_in_a_tokens_place() -> None:
    model = _denoiser()  # 4 x 4 patches
    places = torch.tensor([[[0.0, 0.0, 1.0, 1.0], [0.0, 0.0, 0.5, 0.5], [0.5, 0.25, 1.0, 0.75]]])
    offsets = model.prepare(torch.zeros(1, 3, 24), torch.ones(1, 3), places).offsets
    assert offsets.shape == (1, 16, 3, OFFSET_FEATURES)
    # The upper left patch of one rectangle hears what the upper left patch of the other hears.
    torch.testing.assert_close(offsets[0, 0, 1], offsets[0, 1 * 4 + 2, 2])
    # A rectangle of twice the size: other patches, and the patch is smaller beside it.
    assert not torch.allclose(offsets[0, 0, 0], offsets[0, 0, 1])
    torch.testing.assert_close(offsets[0, 0, :, -1], torch.tensor([0.25, 0.5, 0.5]))


@torch.no_grad()
def test_the_place_of_a_token_changes_the_picture() -> None:
    model = _denoiser()
    noisy = torch.randn(1, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    tokens, mask = torch.ones(1, 1, 24), torch.ones(1, 1)
    # One token only: its weight is 1 wherever it stands, so only the offsets can tell.
    here, there = (
        model(noisy, torch.tensor([500.0]), model.prepare(tokens, mask, torch.tensor([[place]])))
        for place in ([0.0, 0.0, 0.5, 0.5], [0.5, 0.5, 1.0, 1.0])
    )
    assert not torch.allclose(here, there)

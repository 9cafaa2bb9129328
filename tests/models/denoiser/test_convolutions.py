"""Pixels become features and patches become pixels, each where it belongs."""

from __future__ import annotations

import torch

from pipelines.models.denoiser.convolutions import PatchBlock, PixelDecoder, PixelEncoder


def _decoder(blocks: int = 0) -> PixelDecoder:
    return PixelDecoder(
        width=8, patch_size=4, channels=8, blocks=blocks, fine_channels=8, out_channels=3
    )


@torch.no_grad()
def test_patches_are_laid_out_where_they_came_from() -> None:
    decoder = _decoder()
    torch.nn.init.normal_(decoder.out.weight)
    patches, features, time = torch.zeros(1, 16, 8), torch.randn(1, 8, 8, 8), torch.zeros(1, 8)
    noisy = torch.randn(1, 3, 16, 16)
    decoder.norm = torch.nn.Identity()  # it joins all places; without it the reach can be seen
    blank = decoder(patches, features, noisy, time, rows=4)
    patches[0, 1 * 4 + 2] = 1.0  # row 1, column 2
    changed = (decoder(patches, features, noisy, time, rows=4) != blank).any(1)[0]
    assert changed[4:8, 8:12].all()
    # The last convolution reaches one pixel beyond the patch; the block before it is idle at first.
    outside = changed.clone()
    outside[3:9, 7:13] = False
    assert not outside.any()


@torch.no_grad()
def test_neighbouring_patches_meet_between_blocks() -> None:
    block = PatchBlock(width=8)
    patches, time = torch.randn(1, 36, 8), torch.randn(1, 8)
    assert torch.equal(block(patches, time, rows=6), patches)  # idle at first
    torch.nn.init.normal_(block.block.conv2.weight)
    block.block.norm1 = block.block.norm2 = torch.nn.Identity()
    other = patches.clone()
    other[0, 1 * 6 + 4] += 1.0  # row 1, column 4
    changed = (block(other, time, rows=6) != block(patches, time, rows=6)).any(-1).view(6, 6)
    assert changed[0:3, 3:6].all()
    assert not changed[4:].any() and not changed[:, :2].any()  # two convolutions reach no farther


@torch.no_grad()
def test_the_encoder_sees_image_layout_and_noise_level() -> None:
    encoder = PixelEncoder(in_channels=3, channels=8, time_width=6, blocks=1)
    torch.nn.init.normal_(encoder.blocks[0].conv2.weight)
    noisy, layout, time = torch.randn(1, 3, 16, 16), torch.randn(1, 8, 8, 8), torch.randn(1, 6)
    features = encoder(noisy, layout, time)
    assert features.shape == (1, 8, 8, 8)
    for other in (
        encoder(noisy + 1.0, layout, time),
        encoder(noisy, layout + torch.randn(1, 8, 8, 8), time),
        encoder(noisy, layout, time + 1.0),
    ):
        assert not torch.allclose(features, other)


@torch.no_grad()
def test_an_untrained_decoder_draws_nothing() -> None:
    states, noisy = (torch.randn(1, 16, 8), torch.randn(1, 8, 8, 8)), torch.randn(1, 3, 16, 16)
    out = _decoder(blocks=2)(*states, noisy, torch.randn(1, 8), rows=4)
    assert out.shape == (1, 3, 16, 16)
    assert not out.any()

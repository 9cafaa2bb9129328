"""Pixels become features and patches become pixels, each where it belongs."""

from __future__ import annotations

import torch

from pipelines.models.convolutions import PixelDecoder, PixelEncoder


@torch.no_grad()
def test_patches_are_laid_out_where_they_came_from() -> None:
    decoder = PixelDecoder(width=8, patch_size=4, channels=8, blocks=0)
    torch.nn.init.normal_(decoder.out.weight)
    patches, features, time = torch.zeros(1, 16, 8), torch.randn(1, 8, 8, 8), torch.zeros(1, 8)
    decoder.norm = torch.nn.Identity()  # it joins all places; without it the reach can be seen
    blank = decoder(patches, features, time, rows=4)
    patches[0, 1 * 4 + 2] = 1.0  # row 1, column 2
    changed = (decoder(patches, features, time, rows=4) != blank).any(1)[0]
    assert changed[4:8, 8:12].all()
    # One convolution at half the resolution reaches two pixels beyond the patch.
    outside = changed.clone()
    outside[2:10, 6:14] = False
    assert not outside.any()


@torch.no_grad()
def test_the_encoder_sees_image_layout_and_noise_level() -> None:
    encoder = PixelEncoder(channels=8, time_width=6, blocks=1)
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
    decoder = PixelDecoder(width=8, patch_size=4, channels=8, blocks=2)
    out = decoder(torch.randn(1, 16, 8), torch.randn(1, 8, 8, 8), torch.randn(1, 8), rows=4)
    assert out.shape == (1, 3, 16, 16)
    assert not out.any()

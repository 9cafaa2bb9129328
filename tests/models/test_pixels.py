"""Pictures as bytes and as tensors."""

from __future__ import annotations

import numpy as np

from pipelines.models.pixels import fit_square, to_pixels, to_tensor


def test_bytes_come_back() -> None:
    pixels = np.arange(256, dtype=np.uint8).repeat(3).reshape(1, 16, 16, 3)
    tensor = to_tensor(pixels)
    assert tensor.shape == (1, 3, 16, 16)
    assert (tensor.min(), tensor.max()) == (-1.0, 1.0)
    np.testing.assert_array_equal(to_pixels(tensor), pixels)
    np.testing.assert_array_equal(to_pixels(tensor * 1000.0), pixels // 128 * 255)


def test_a_wide_picture_is_scaled_whole_and_padded() -> None:
    image = np.zeros((32, 64, 3), np.uint8)
    image[:, 32:] = 255
    fitted = fit_square(image, 96)
    assert fitted.shape == (3, 96, 96)
    assert float(fitted[:, :48, :40].max()) == 0.0
    assert float(fitted[:, :48, 56:].min()) == 1.0
    assert fitted[:, 48:].unique().numel() == 1

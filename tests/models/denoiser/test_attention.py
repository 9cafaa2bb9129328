"""Patches know how far they lie from a token's rectangle, and where within it."""

from __future__ import annotations

import torch

from pipelines.models.denoiser.attention import OFFSET_FEATURES, rect_distance, rect_offsets


def test_distance_is_zero_within_and_grows_outside() -> None:
    rects = torch.tensor([[[0.0, 0.0, 1.0, 1.0], [0.5, 0.25, 0.75, 0.5]]])
    whole, part = rect_distance(rects, (4, 4))[0].unbind(-1)
    assert not whole.any()
    part = part.view(4, 4)
    assert part.argmin() == 1 * 4 + 2  # row 1, column 2
    assert (part == 0.0).sum() == 1
    # Row 3's centre lies 0.375 below the rectangle, column 0's 0.375 to its left.
    torch.testing.assert_close(part[3, 2], part[1, 0])
    torch.testing.assert_close(part[3, 0], torch.tensor(2 * 0.375**2).sqrt())


def test_offsets_count_from_the_rectangle() -> None:
    rects = torch.tensor([[[0.0, 0.0, 1.0, 1.0], [0.0, 0.0, 0.5, 0.5], [0.5, 0.25, 1.0, 0.75]]])
    found = rect_offsets(rects, (4, 4))
    assert found.shape == (1, 16, 3, OFFSET_FEATURES)
    # The upper left patch of one rectangle has the features of that of the other.
    torch.testing.assert_close(found[0, 0, 1], found[0, 1 * 4 + 2, 2])
    # A rectangle of twice the size: other patches, and the patch is smaller beside it.
    assert not torch.allclose(found[0, 0, 0], found[0, 0, 1])
    torch.testing.assert_close(found[0, 0, :, -1], torch.tensor([0.25, 0.5, 0.5]))


def test_places_are_fractions_of_both_sides() -> None:
    rects = torch.tensor([[(0.0, 0.0, 0.5, 0.5), (0.1, 0.2, 0.4, 0.9)]])
    wide = rect_distance(rects, (2, 6))
    assert wide.shape == (1, 12, 2)
    square = rect_distance(rects, (6, 6)).view(6, 6, 2)
    torch.testing.assert_close(wide.view(2, 6, 2)[:, :, 0], square[[1, 4], :, 0])
    offsets = rect_offsets(rects, (2, 6)).view(2, 6, 2, OFFSET_FEATURES)
    same = rect_offsets(rects, (6, 6)).view(6, 6, 2, OFFSET_FEATURES)[[1, 4]]
    torch.testing.assert_close(offsets[..., :-1], same[..., :-1])
    torch.testing.assert_close(offsets[..., -2], same[..., -2])  # size of a patch, across
    assert (offsets[..., -1] >= same[..., -1]).all()  # and down, where patches are larger

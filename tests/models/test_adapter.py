"""An adapter's attention to z knows where image tokens are."""

from __future__ import annotations

import pytest
import torch

from pipelines.models.adapter import ZBranch, ZRows, grid_of
from pipelines.models.denoiser.attention import STEEPEST

LEFT, RIGHT, EVERYWHERE = (0.0, 0.0, 0.5, 1.0), (0.5, 0.0, 1.0, 1.0), (0.0, 0.0, 1.0, 1.0)


def _rows(rects, counted=None, width: int = 8) -> ZRows:
    torch.manual_seed(1)
    mask = torch.ones(1, len(rects), dtype=torch.bool) if counted is None else counted
    return ZRows(torch.randn(1, len(rects), width), mask, torch.tensor([rects]))


@pytest.mark.parametrize(
    ("tokens", "sides", "grid"),
    [
        (64, (8, 8), (8, 8)),
        (96, (64, 96), (8, 12)),
        (96, (96, 64), (12, 8)),
        (920, (90, 160), (23, 40)),  # a U-Net halves 45 x 80 to 23 x 40
        (7, (8, 8), None),
        (64, None, None),
    ],
)
def test_rows_and_columns_follow_from_the_shape_of_the_picture(tokens, sides, grid) -> None:
    assert grid_of(tokens, sides) == grid


def test_scores_fall_with_the_distance_from_the_rectangle() -> None:
    z = _rows([LEFT, RIGHT, EVERYWHERE], torch.tensor([[True, True, False]]))
    bias = z.bias((1, 4), 2).reshape(2, 4, 3)
    assert (bias[..., 2] < -1000).all(), "padding is not attended to"
    assert (bias[0, :, :2] == 0).all(), "the first head attends everywhere"
    expected = -STEEPEST * torch.tensor([[0, 0.375], [0, 0.125], [0.125, 0], [0.375, 0]])
    torch.testing.assert_close(bias[1, :, :2], expected)
    without = z.bias(None, 2)
    assert without.shape == (1, 1, 1, 3) and without.flatten()[:2].tolist() == [0, 0]


def test_image_tokens_read_what_is_where_they_are() -> None:
    torch.manual_seed(0)
    branch = ZBranch(6, 8, 8, 2)
    torch.nn.init.normal_(branch.out.weight)
    image = torch.randn(1, 1, 6).expand(1, 16, 6)  # alike but for their places
    z = _rows([LEFT, RIGHT])
    added = branch(image, z, z.bias((4, 4), 2)).reshape(4, 4, 6)
    torch.testing.assert_close(added, added[:1].expand(4, 4, 6))
    assert (added[:, 0] - added[:, 3]).abs().max() > 0.1
    everywhere = branch(image, z, z.bias(None, 2))
    torch.testing.assert_close(everywhere, everywhere[:, :1].expand(1, 16, 6))

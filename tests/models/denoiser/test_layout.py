"""What z names is drawn into its rectangle, and nowhere else."""

from __future__ import annotations

import pytest
import torch

from pipelines.models.denoiser.layout import LayoutMap

HERE, THERE = (0.0, 0.0, 0.5, 0.5), (0.5, 0.5, 1.0, 1.0)


@pytest.fixture
def layout() -> LayoutMap:
    torch.manual_seed(0)
    return LayoutMap(context_dim=6, channels=4).requires_grad_(False)


def _draw(layout: LayoutMap, tokens: torch.Tensor, rects: object, names: object) -> torch.Tensor:
    return layout(tokens, torch.tensor([rects]), torch.tensor([names]), (16, 16))


def test_only_names_are_drawn(layout) -> None:
    tokens = torch.randn(1, 2, 6)
    assert not _draw(layout, tokens, [HERE, THERE], [False, False]).any()
    drawn = _draw(layout, tokens, [HERE, THERE], [False, True])
    assert drawn.shape == (1, 4, 16, 16)
    assert drawn[..., 8:, 8:].any()
    assert not drawn[..., :6, :6].any()  # a margin of an eighth of the rectangle is drawn too


def test_a_pattern_moves_and_grows_with_its_rectangle(layout) -> None:
    token = torch.randn(1, 1, 6)
    here = _draw(layout, token, [(0.125, 0.125, 0.375, 0.375)], [True])
    there = _draw(layout, token, [(0.625, 0.5, 0.875, 0.75)], [True])
    torch.testing.assert_close(here[..., :8, :8], there[..., 6:14, 8:16])
    # On a map of twice as many pixels a rectangle is drawn as one of twice its size on this map.
    fine = layout(
        token, torch.tensor([[(0.125, 0.125, 0.375, 0.375)]]), torch.tensor([[True]]), (32, 32)
    )
    large = _draw(layout, token, [(0.25, 0.25, 0.75, 0.75)], [True])
    torch.testing.assert_close(fine[..., :16, :16], large)


def test_overlapping_items_are_averaged(layout) -> None:
    tokens = torch.randn(1, 1, 6).expand(1, 2, 6)
    one = _draw(layout, tokens, [HERE, HERE], [True, False])
    both = _draw(layout, tokens, [HERE, HERE], [True, True])
    inside = (..., slice(0, 8), slice(0, 8))
    torch.testing.assert_close(one[inside], both[inside])


def test_rows_beside_it_do_not_change_a_row(layout) -> None:
    tokens = torch.randn(2, 3, 6)
    rects = torch.tensor([[HERE, THERE, HERE], [THERE, HERE, THERE]])
    names = torch.tensor([[False, True, False], [True, True, True]])
    alone = layout(tokens[:1], rects[:1], names[:1], (16, 16))
    torch.testing.assert_close(layout(tokens, rects, names, (16, 16))[:1], alone)


@pytest.mark.parametrize("grid", [(8, 24), (24, 8)])
def test_a_map_of_another_shape_is_the_square_one_stretched(layout, grid) -> None:
    """Each row and column reads the patterns at its own place, in units of the sides."""
    tokens = torch.randn(1, 2, 6)
    rects, names = torch.tensor([[HERE, (0.2, 0.4, 0.9, 0.7)]]), torch.tensor([[True, True]])
    drawn = layout(tokens, rects, names, grid)
    assert drawn.shape == (1, 4, *grid)
    turned = layout(tokens, rects[..., [1, 0, 3, 2]], names, grid[::-1])
    assert turned.shape == (1, 4, *grid[::-1])
    # 24 columns have their centres at every third of those of 8, and the middle one at the same.
    fine = layout(tokens, torch.tensor([[HERE, HERE]]), torch.tensor([[True, False]]), (24, 24))
    some = layout(tokens, torch.tensor([[HERE, HERE]]), torch.tensor([[True, False]]), grid)
    step = (24 // grid[0], 24 // grid[1])
    picked = fine[..., step[0] // 2 :: step[0], step[1] // 2 :: step[1]]
    torch.testing.assert_close(some[..., :2, :2], picked[..., :2, :2])

"""The conditioner joins c and z; masked tokens must not matter."""

from __future__ import annotations

import torch

from pipelines.models.conditioning import Conditioner, States


def _context() -> Conditioner:
    torch.manual_seed(0)
    return Conditioner(caption_dim=16, z_dim=32, context_dim=24, num_layers=2, num_heads=2).eval()


def _states(length: int, width: int, seed: int, kept: int) -> States:
    values = torch.randn(2, length, width, generator=torch.Generator().manual_seed(seed))
    mask = torch.zeros(2, length, dtype=torch.bool)
    mask[:, :kept] = True
    return States(values, mask)


@torch.no_grad()
def test_padded_content_changes_nothing() -> None:
    context = _context()
    caption, z = _states(6, 16, 1, 4), _states(9, 32, 2, 5)
    other = States(z.values.clone(), z.mask)
    other.values[:, 5:] = 1e3
    first, second = context(caption, z), context(caption, other)
    kept = first.mask.bool()
    assert torch.equal(first.tokens[kept], second.tokens[kept])


@torch.no_grad()
def test_more_padding_changes_nothing() -> None:
    context = _context()
    caption, z = _states(6, 16, 1, 6), _states(5, 32, 2, 5)
    longer = States(
        torch.cat([z.values, torch.ones(2, 4, 32)], 1),
        torch.cat([z.mask, torch.zeros(2, 4, dtype=torch.bool)], 1),
    )
    short, long = context(caption, z), context(caption, longer)
    torch.testing.assert_close(short.tokens, long.tokens[:, :11], atol=1e-6, rtol=0)


@torch.no_grad()
def test_dropped_rows_equal_the_null_condition() -> None:
    context = _context()
    drop = torch.tensor([True, False])
    dropped = context(_states(6, 16, 1, 4), _states(9, 32, 2, 5), drop)
    null = context.null(1)
    torch.testing.assert_close(dropped.tokens[0, :1], null.tokens[0])
    assert dropped.mask[0].sum() == 1
    assert dropped.mask[1].sum() == 9


@torch.no_grad()
def test_z_reaches_the_tokens_of_the_caption() -> None:
    context = _context()
    caption = _states(6, 16, 1, 6)
    one, two = (context(caption, _states(5, 32, seed, 5)) for seed in (2, 3))
    assert not torch.allclose(one.tokens[:, :6], two.tokens[:, :6])


@torch.no_grad()
def test_places_reach_the_tokens_and_the_denoiser() -> None:
    context = _context()
    caption, z = _states(6, 16, 1, 6), _states(5, 32, 2, 5)
    place = torch.tensor([0.1, 0.2, 0.4, 0.6])
    placed = context(caption, States(z.values, z.mask, place.expand(2, 5, 4)))
    assert not torch.allclose(placed.tokens, context(caption, z).tokens)
    whole = torch.tensor([0.0, 0.0, 1.0, 1.0])
    assert torch.equal(placed.rects[0], torch.stack([whole] * 6 + [place] * 5))
    drop = torch.tensor([True, False])
    dropped = context(caption, States(z.values, z.mask, place.expand(2, 5, 4)), drop)
    assert torch.equal(dropped.rects[0], whole.expand(11, 4))


@torch.no_grad()
def test_names_that_do_not_count_are_left_out() -> None:
    context = _context()
    caption, z = _states(6, 16, 1, 6), _states(5, 32, 2, 5)
    whole, part = [0.0, 0.0, 1.0, 1.0], [0.1, 0.2, 0.4, 0.6]
    rects = torch.tensor([[part, part, whole, part, part]] * 2)
    grounded = torch.tensor([[True, True, False, True, True]] * 2)
    names = torch.tensor([[True, False, False, False, True]] * 2)
    mask = torch.tensor([[True, True, True, True, False]] * 2)
    states = States(z.values, mask, rects, grounded, names=names)
    drop = torch.tensor([False, True])
    kept, dropped = context(caption, states, drop).names.tolist()
    assert kept == [False] * 6 + [True, False, False, False, False]
    assert dropped == [False] * 11
    assert not context(caption, z).names.any()


@torch.no_grad()
def test_a_token_hears_its_items_label() -> None:
    torch.manual_seed(0)
    # Without refining layers tokens meet in no other way.
    context = Conditioner(caption_dim=16, z_dim=32, context_dim=24, num_layers=0).eval()
    z = _states(6, 32, 2, 6)
    whole, left = [0.0, 0.0, 1.0, 1.0], [0.0, 0.0, 0.5, 0.5]
    rects = torch.tensor([[whole, left, left, whole, whole, whole]] * 2)
    grounded = torch.tensor([[False, True, True, True, True, False]] * 2)
    names = torch.tensor([[False, True, False, True, False, False]] * 2)

    def changed(position: int) -> list[int]:
        """Which tokens of z change with the one at a position."""
        other = z.values.clone()
        other[:, position] += 1.0
        states = (States(v, z.mask, rects, grounded, names=names) for v in (z.values, other))
        first, second = (context(_states(3, 16, 1, 3), each).tokens[0, 3:] for each in states)
        return (first != second).any(-1).nonzero().flatten().tolist()

    assert changed(1) == [1, 2]  # a label
    assert changed(3) == [3, 4]  # that of an item as large as the picture
    assert changed(4) == [4]  # a number
    assert changed(5) == [5]  # a word of the whole picture


@torch.no_grad()
def test_the_colour_of_a_token_reaches_the_context() -> None:
    context, caption, z = _context(), _states(3, 16, 1, 3), _states(5, 32, 2, 5)
    blue, red = torch.zeros(2, 5, 4), torch.zeros(2, 5, 4)
    blue[:, 2], red[:, 2] = (
        torch.tensor([-1.0, -1.0, 1.0, 0.4]),
        torch.tensor([1.0, -1.0, -1.0, 0.4]),
    )
    first, second = (
        context(caption, States(z.values, z.mask, colours=tints)).tokens for tints in (blue, red)
    )
    assert not torch.allclose(first, second)


@torch.no_grad()
def test_each_segment_marks_its_own_tokens() -> None:
    torch.manual_seed(0)
    # Without refining layers tokens meet in no other way.
    conditioner = Conditioner(caption_dim=16, z_dim=32, context_dim=24, num_layers=0).eval()
    caption, z = _states(3, 16, 1, 3), _states(4, 32, 2, 4)
    before = conditioner(caption, z).tokens
    for segment, marked in ((0, [0, 1, 2]), (1, [3, 4, 5, 6])):
        conditioner.segment[segment] += torch.randn(24)
        after = conditioner(caption, z).tokens
        assert (before != after).any(-1)[0].nonzero().flatten().tolist() == marked
        before = after

"""The conditioner joins c and z; masked tokens must not matter."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

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
    assert dropped.mask[0].sum() == dropped.mask[0, 0] == 1
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


def test_the_parts_have_the_shapes_of_saved_weights() -> None:
    conditioner = Conditioner()
    shapes = {name: tuple(part.shape) for name, part in conditioner.named_parameters()}
    assert shapes["caption_projection.weight"] == (128, 128)
    assert shapes["z_projection.weight"] == shapes["name_projection.weight"] == (128, 256)
    assert shapes["tint_projection.weight"] == (128, 4)
    assert not {"tint_projection.bias", "name_projection.bias"} & set(shapes)
    assert shapes["segment"] == (2, 128) and shapes["null_token"] == (128,)
    assert shapes["place_projection.0.weight"] == (128, 48)
    assert shapes["place_projection.2.weight"] == (128, 128)
    assert shapes["layers.1.linear1.weight"] == (256, 128) and "layers.2.norm1.weight" not in shapes
    assert conditioner.layers[0].self_attn.num_heads == 4
    assert not any(isinstance(part, nn.Dropout) and part.p for part in conditioner.modules())


def test_marks_begin_small() -> None:
    """Beside states of unit size they must be heard, and not drown them."""
    torch.manual_seed(0)
    conditioner = Conditioner()
    assert conditioner.segment.std().item() == pytest.approx(0.02, rel=0.2)
    assert conditioner.null_token.std().item() == pytest.approx(0.02, rel=0.3)


def _waves(rect: list[float]) -> torch.Tensor:
    """Sines, then cosines, of centre and size at 1/2 to 16 periods per side."""
    left, top, right, bottom = rect
    values = ((left + right) / 2, (top + bottom) / 2, right - left, bottom - top)
    phases = [value * math.pi * 2**octave for value in values for octave in range(6)]
    return torch.tensor([*map(math.sin, phases), *map(math.cos, phases)])


@torch.no_grad()
def test_tokens_are_the_formula_by_hand() -> None:
    torch.manual_seed(0)
    # Without refining layers tokens meet in no other way.
    parts = Conditioner(caption_dim=16, z_dim=32, context_dim=24, num_layers=0).eval()
    caption, z = _states(2, 16, 1, 2), _states(5, 32, 2, 5)
    rects = [[0.1, 0.2, 0.4, 0.7]] * 3 + [[0.0, 0.0, 1.0, 1.0], [0.5, 0.1, 0.9, 0.3]]
    grounded = torch.tensor([[True, True, True, False, True]] * 2)
    names = torch.tensor([[True, True, False, False, False]] * 2)
    colours = torch.randn(2, 5, 4)
    places = torch.tensor([rects] * 2)
    found = parts(caption, States(z.values, z.mask, places, grounded, colours, names)).tokens
    heard = (z.values[0, 0] + z.values[0, 1]) / 2  # the label of the first item
    labels = [heard, heard, heard, torch.zeros(32), torch.zeros(32)]
    for place in range(2):
        wanted = parts.caption_projection(caption.values[0, place]) + parts.segment[0]
        torch.testing.assert_close(found[0, place], parts.norm(wanted), atol=1e-5, rtol=1e-4)
    for place in range(5):
        wanted = parts.z_projection(z.values[0, place]) + parts.segment[1]
        wanted = wanted + parts.place_projection(_waves(rects[place]))
        wanted = wanted + parts.name_projection(labels[place])
        wanted = wanted + parts.tint_projection(colours[0, place])
        torch.testing.assert_close(found[0, 2 + place], parts.norm(wanted), atol=1e-5, rtol=1e-4)


@torch.no_grad()
def test_rows_without_places_refer_to_the_whole_image() -> None:
    context = _context()
    caption, z = _states(2, 16, 1, 2), _states(3, 32, 2, 3)
    whole = torch.tensor([0.0, 0.0, 1.0, 1.0]).expand(2, 3, 4)
    joined, placed = context(caption, z), context(caption, States(z.values, z.mask, whole))
    assert torch.equal(joined.tokens, placed.tokens)
    assert joined.rects.tolist() == placed.rects.tolist() == [[[0.0, 0.0, 1.0, 1.0]] * 5] * 2


@torch.no_grad()
def test_null_rows_are_one_learned_token() -> None:
    context = _context()
    null = context.null(3)
    assert null.mask.tolist() == [[1.0]] * 3 and not null.names.any()
    token = context.null_token[None, None]
    for layer in context.layers:
        token = layer(token)
    torch.testing.assert_close(null.tokens, context.norm(token).expand(3, 1, 24))


def test_states_are_selected_in_all_their_parts() -> None:
    values, mask = torch.randn(3, 2, 4), torch.tensor([[True, False], [True, True], [False, True]])
    rects, tints = torch.randn(3, 2, 4), torch.randn(3, 2, 4)
    states = States(values, mask, rects, mask, tints, ~mask).expand(torch.tensor([2, 0, 2]))
    for part, whole in (
        *((states.values, values), (states.mask, mask), (states.rects, rects)),
        *((states.grounded, mask), (states.colours, tints), (states.names, ~mask)),
    ):
        assert torch.equal(part, whole[[2, 0, 2]])
    plain = States(values, mask).expand(torch.tensor([1]))
    assert plain.rects is plain.grounded is plain.colours is plain.names is None

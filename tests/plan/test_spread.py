from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.latents.boxes import Box, Boxes
from pipelines.latents.colours import Colours, ElementColours
from pipelines.latents.description import Description
from pipelines.latents.palette import Colour, Palette
from pipelines.latents.tokens import Tokens
from pipelines.plan.spread import choose, effective_number, similarity


def boxes(*rows):
    return Boxes(tuple(Box(*row) for row in rows))


def palette(*colours):
    return Palette.from_oklab(
        np.array([Colour.from_hex(c, 1).oklab for c in colours]), [1] * len(colours)
    )


LEFT, RIGHT = ("kite", 0, 0, 250, 250), ("kite", 750, 750, 1000, 1000)


def test_places_labels_and_counts_tell_layouts_apart():
    kernel = similarity(
        [
            {"boxes": b}
            for b in (
                boxes(LEFT),
                boxes(LEFT),
                boxes(RIGHT),
                boxes(LEFT, RIGHT),
                boxes(("hat", *LEFT[1:])),
            )
        ]
    )
    assert kernel[0, 1] == 1.0
    assert kernel[0, 2] == 0.0, "as many of the same label, elsewhere"
    assert 0.4 < kernel[0, 3] < 0.8 and kernel[0, 4] == 0.0


def test_a_box_counts_in_each_cell_by_its_share():
    half = boxes(("kite", 0, 0, 63, 125))
    kernel = similarity([{"boxes": boxes(("kite", 0, 0, 125, 250))}, {"boxes": half}])
    # (1, 1) beside (0.504, 0) of two cells, and equal counts.
    assert kernel[0, 1] == pytest.approx(1 / np.sqrt(2), abs=1e-3)


def test_near_colours_are_more_alike_than_far_ones():
    red, orange, blue = (
        {"palette": palette(c, "#ffffff")} for c in ("#e02020", "#e04020", "#2020e0")
    )
    kernel = similarity([red, orange, blue])
    assert 0.95 < kernel[0, 1] < 1.0 and kernel[0, 2] < 0.8


def test_the_same_colours_on_other_elements_are_another_plan():
    def coloured(*rows):
        return {"colours": Colours(tuple(ElementColours.from_hex(*row) for row in rows))}

    red, blue, orange = "#e02020", "#2020e0", "#e04020"
    kernel = similarity(
        [
            coloured(("kite", red), ("sun", blue)),
            coloured(("kite", blue), ("sun", red)),
            coloured(("kite", orange), ("sun", blue)),
            coloured(("tree", red)),
        ]
    )
    assert kernel[0, 1] < 0.3 and kernel[0, 2] > 0.9 and kernel[0, 3] == 0
    assert np.diag(kernel) == pytest.approx(np.ones(4))
    assert np.linalg.eigvalsh(kernel).min() > -1e-9


def test_words_and_tokens():
    a = {"description": Description("A red kite"), "tokens": Tokens(1, 4, 10, (1, 2, 3, 4))}
    b = {"description": Description("a red hill"), "tokens": Tokens(1, 4, 10, (1, 2, 9, 9))}
    assert similarity([a, b])[0, 1] == pytest.approx((2 / 3 + 1 / 2) / 2)


def test_only_kinds_that_all_have_are_compared():
    assert similarity([{"boxes": boxes(LEFT)}, {}]).tolist() == [[1, 1], [1, 1]]


points = st.lists(st.floats(-1, 1), min_size=3, max_size=3)


@given(st.lists(points, min_size=3, max_size=7))
def test_the_first_two_choices_are_the_pair_of_the_greatest_determinant_or_greedily_near(rows):
    features = np.array([[*row, 1.0] for row in rows])
    features /= np.linalg.norm(features, axis=1, keepdims=True)
    kernel = features @ features.T
    first, second = choose(kernel, 2)
    volume = np.linalg.det(kernel[np.ix_([first, second], [first, second])])
    best = max(
        np.linalg.det(kernel[np.ix_([first, j], [first, j])])
        for j in range(len(rows))
        if j != first
    )
    assert volume == pytest.approx(best, abs=1e-9), "the second is the best beside the first"


def test_the_choice_is_the_best_set_where_greed_finds_it():
    rng = np.random.default_rng(0)
    groups = np.repeat(np.eye(4), 3, axis=0) + 0.1 * rng.standard_normal((12, 4))
    features = groups / np.linalg.norm(groups, axis=1, keepdims=True)
    kernel = features @ features.T
    chosen = choose(kernel, 4)
    assert sorted(index // 3 for index in chosen) == [0, 1, 2, 3], "one of each group"
    volumes = {c: np.linalg.det(kernel[np.ix_(c, c)]) for c in combinations(range(12), 4)}
    assert volumes[tuple(sorted(chosen))] > 0.9 * max(volumes.values())
    assert effective_number(kernel[np.ix_(chosen, chosen)]) > effective_number(kernel[:4, :4])


def test_a_poor_z_is_chosen_only_where_it_adds_enough():
    kernel = np.array([[1, 0.99, 0.0], [0.99, 1, 0.0], [0.0, 0.0, 1]])
    assert choose(kernel, 2) == [0, 2]
    assert choose(kernel, 2, np.array([0.0, 0.0, -9.0])) == [0, 1]


def test_copies_come_last_and_none_is_chosen_twice():
    kernel = np.ones((4, 4))
    assert choose(kernel, 3, np.array([-2.0, 0.0, -1.0, -3.0])) == [1, 2, 0]
    assert sorted(choose(np.eye(3), 9)) == [0, 1, 2]


def test_the_effective_number_counts_different_items():
    assert effective_number(np.eye(5)) == pytest.approx(5)
    assert effective_number(np.ones((5, 5))) == pytest.approx(1)
    assert effective_number(np.kron(np.eye(2), np.ones((3, 3)))) == pytest.approx(2)

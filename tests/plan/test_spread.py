from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.plan.spread import choose, effective_number

points = st.lists(st.floats(-1, 1), min_size=3, max_size=3)


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


def test_an_exchange_mends_what_greed_chose_first():
    # Greed takes the vector in the middle, which is best alone; the pair at its sides is better.
    angles = np.radians([0.0, 44.0, 90.0])
    features = np.array([[np.cos(a), np.sin(a)] for a in angles]) * np.array([[1.0], [1.01], [1.0]])
    assert choose(features @ features.T, 2) in ([0, 2], [2, 0])


@given(st.lists(points, min_size=4, max_size=8))
def test_no_exchange_of_one_item_raises_the_determinant(rows):
    features = np.array([[*row, 1.0] for row in rows])
    kernel = np.exp(-((features[:, None] - features) ** 2).sum(-1)) + 0.01 * np.eye(len(rows))
    chosen = choose(kernel, 3)
    volume = np.linalg.det(kernel[np.ix_(chosen, chosen)])
    for place in range(3):
        for other in set(range(len(rows))) - set(chosen):
            items = [*chosen[:place], other, *chosen[place + 1 :]]
            assert np.linalg.det(kernel[np.ix_(items, items)]) <= volume + 1e-9


def test_copies_come_last_and_none_is_chosen_twice():
    kernel = np.ones((4, 4))
    kernel[3, :3] = kernel[:3, 3] = 0
    assert choose(kernel, 3) == [0, 3, 1]
    assert sorted(choose(np.eye(3), 9)) == [0, 1, 2]


def test_the_effective_number_counts_different_items():
    assert effective_number(np.eye(5)) == pytest.approx(5)
    assert effective_number(np.ones((5, 5))) == pytest.approx(1)
    assert effective_number(np.kron(np.eye(2), np.ones((3, 3)))) == pytest.approx(2)

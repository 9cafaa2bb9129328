from __future__ import annotations

import numpy as np

from pipelines.evaluate.folders.measure import Group, difference, score_interval
from pipelines.evaluate.metrics.diversity import vendi


def group_of(rows) -> Group:
    without = np.array([vendi(np.delete(rows, index, 0)) for index in range(len(rows))])
    return Group(len(rows), {"vendi": vendi(rows)}, {"vendi": without}, [])


def test_intervals_over_pictures_hold_the_true_difference():
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(6, 32))

    def draw(kinds):
        return centres[rng.integers(kinds, size=12)] + 0.3 * rng.normal(size=(12, 32))

    true = np.mean([vendi(draw(6)) for _ in range(400)]) - np.mean(
        [vendi(draw(2)) for _ in range(400)]
    )
    held = []
    for _ in range(80):
        found = difference([group_of(draw(6))], [group_of(draw(2))], "vendi")
        held.append(found.low <= true <= found.high)
    assert np.mean(held) >= 0.93


def test_a_score_of_prompts_has_no_interval_over_pictures():
    group = Group(4, {"prompts": 0.5}, {}, [])
    assert not score_interval([group], "prompts").known
    assert score_interval([group], "prompts").value == 0.5

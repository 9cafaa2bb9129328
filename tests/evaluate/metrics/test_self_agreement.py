"""The kinds of one z against each other; a metric is there only where a z has its kinds."""

from dataclasses import replace

import numpy as np
import pytest

from pipelines.evaluate.metrics.self_agreement import self_agreement
from pipelines.evaluate.observe import Observed

BOX, OTHER = "star <100><100><300><300>", "circle <600><600><800><800>"
BLOB, FAR = "star <200><200><100><100><0>", "circle <500><700><100><100><0>"
RED = "<583><679><549><1000>"  # OKLab of #E02020 in the palette's units


def seen(groups):
    """Pictures of two captions under one seed, of which only z matters."""
    nothing = np.zeros((len(groups), 1, len(groups[0]), 1))
    return Observed(nothing, [], [[group] for group in groups], *[nothing] * 4)


def values(*groups):
    return {name: value.value for name, value in self_agreement(seen(groups)).items()}


def test_boxes_and_blobs():
    fits = f"<boxes> {BOX} <blobs> {BLOB}"
    half = f"<boxes> {BOX} <;> {OTHER} <blobs> {BLOB} <;> {FAR}"  # the second: a third, 200 apart
    alone = f"<boxes> {BOX} <;> {OTHER} <blobs> {BLOB}"
    found = values([fits, half], [alone, alone])
    assert found["z.self.iou"] == pytest.approx(np.mean([(1 + 1 + 0) / 3, (1 + 0) / 2]))
    assert found["z.self.apart"] == pytest.approx(np.mean([1 / 3, 1 / 2]))
    assert found["z.self.centre"] == pytest.approx(np.mean([200 / 3, 0.0]))
    assert found["z.self.count"] == pytest.approx(np.mean([1.0, 0.0]))
    assert set(found) == {f"z.self.{name}" for name in ("iou", "apart", "centre", "count")}


def test_words_of_a_description():
    said = "<description> A red star. <boxes>"
    both = f"{said} {BOX} <;> {OTHER} <palette> {RED}"
    blue = f"<description> A blue star, red. <boxes> {BOX} <palette> {RED}"
    found = values([both], [blue])
    assert found["z.self.labels"] == pytest.approx(np.mean([0.5, 1.0]))
    assert found["z.self.colours"] == pytest.approx(np.mean([1.0, 0.5]))


def test_a_z_that_lacks_a_kind_counts_for_nothing():
    found = values([f"<boxes> {BOX}", f"<boxes> {BOX} <blobs> {BLOB}"], ["", "no z"])
    assert found["z.self.iou"] == pytest.approx(1.0)
    assert values([f"<boxes> {BOX}"]) == {}
    assert self_agreement(replace(seen([["", ""]]))) == {}

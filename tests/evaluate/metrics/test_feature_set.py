"""Properties of a set of features, of captions one by one or of all pictures together."""

from __future__ import annotations

import numpy as np

from pipelines.evaluate.metrics.feature_set import FeatureSet
from pipelines.evaluate.metrics.frechet import Moments
from pipelines.evaluate.metrics.manifolds import Balls


def test_balls_are_those_of_all_pictures_and_moments_those_of_a_caption():
    features = np.random.default_rng(0).normal(size=(3, 5, 4))
    found = FeatureSet(features)
    rows = np.concatenate(list(features))
    assert (found.balls.points == rows).all()
    assert (found.balls.reach == Balls.around(rows).reach).all()
    assert len(found.moments) == 3
    assert (found.moments[1].mean == Moments.of(features[1]).mean).all()
    assert found.balls is found.balls

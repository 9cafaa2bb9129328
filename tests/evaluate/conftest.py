"""The shipped judge, and real pictures as it sees them."""

from __future__ import annotations

import pytest

from pipelines.embedded.paths import embedded_path
from pipelines.evaluate.judge import Judge
from pipelines.evaluate.observe import Observed, observe, real_of

CAPTIONS = ("a circle", "two hearts", "a star and a square", "three ovals")


@pytest.fixture(scope="session")
def judge() -> Judge:
    """Return the judge that is shipped."""
    return Judge.load(embedded_path("judge"))


@pytest.fixture(scope="session")
def reference(judge) -> Observed:
    """Return twelve real pictures of each caption under two seeds."""
    return observe(real_of(12, "reference"), judge, CAPTIONS, (0, 1), shown=(4, 4))


@pytest.fixture(scope="session")
def data(judge) -> Observed:
    """Return a second such set."""
    return observe(real_of(12, "data"), judge, CAPTIONS, (0, 1), shown=(4, 4))

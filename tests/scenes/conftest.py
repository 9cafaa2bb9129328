"""The shipped judge, and real pictures as it sees them."""

from tests.evaluate.conftest import data, judge, reference

__all__ = ["data", "judge", "reference"]

import pytest
from scipy.stats import t

from pipelines.core.student import student


@pytest.mark.parametrize("freedom", [1, 2, 3, 4, 7, 15, 100, 10_000])
def test_quantiles_are_those_of_scipy(freedom):
    assert student(freedom) == pytest.approx(t.ppf(0.975, freedom), rel=2e-3)

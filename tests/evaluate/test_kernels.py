"""The kernel distance is KID's: unbiased, and equal to a plain computation."""

import numpy as np
import pytest

from pipelines.evaluate.kernels import mmd_by_caption, polynomial


def rows(seed, shape, mean=0.0):
    return np.random.default_rng(seed).normal(mean, 1.0, shape)


def plain(a, b):
    """Write out Gretton's eq. 3."""

    def k(x, y):
        return (np.dot(x, y) / len(x) + 1.0) ** 3

    n, m = len(a), len(b)
    within_a = sum(k(a[i], a[j]) for i in range(n) for j in range(n) if i != j) / (n * (n - 1))
    within_b = sum(k(b[i], b[j]) for i in range(m) for j in range(m) if i != j) / (m * (m - 1))
    between = sum(k(x, y) for x in a for y in b) / (n * m)
    return within_a + within_b - 2.0 * between


def test_it_is_what_the_formula_says():
    drawn, real = rows(0, (3, 4, 5)), rows(1, (3, 6, 5), 0.5)
    value, pseudo = mmd_by_caption(drawn, real)
    assert value == pytest.approx(plain(drawn.reshape(-1, 5), real.reshape(-1, 5)))
    left = plain(drawn[1:].reshape(-1, 5), real[1:].reshape(-1, 5))
    assert pseudo[0] == pytest.approx(3 * value - 2 * left)


def test_the_kernel_is_kids():
    assert (
        polynomial(np.array([[1.0, 2.0]]), np.array([[3.0, 4.0]])).item() == (11.0 / 2.0 + 1) ** 3
    )


def test_its_expectation_is_zero_for_equal_distributions_whatever_the_size():
    for size in (2, 20):
        values = [
            mmd_by_caption(rows(2 * s, (2, size, 4)), rows(2 * s + 1, (2, size, 4)))[0]
            for s in range(300)
        ]
        assert abs(np.mean(values)) < 4.0 * np.std(values) / np.sqrt(len(values))
        assert min(values) < 0.0


def test_for_gaussians_of_one_dimension_it_has_a_closed_form():
    # E (xy + 1)³ for x, y of means a, b and deviation 1.
    def kernel(a, b):
        first, second, third = a * b, (a * a + 1) * (b * b + 1), (a**3 + 3 * a) * (b**3 + 3 * b)
        return third + 3 * second + 3 * first + 1

    expected = kernel(0, 0) + kernel(1, 1) - 2 * kernel(0, 1)
    found, _ = mmd_by_caption(rows(0, (1, 3000, 1)), rows(1, (1, 3000, 1), 1.0))
    assert found == pytest.approx(expected, rel=0.1)


def test_one_image_a_caption_is_refused_and_one_caption_has_no_pseudo_value():
    with pytest.raises(ValueError, match="two images"):
        mmd_by_caption(rows(0, (3, 1, 2)), rows(1, (3, 2, 2)))
    assert np.isnan(mmd_by_caption(rows(0, (1, 3, 2)), rows(1, (1, 3, 2)))[1]).all()

"""The kernel distance is KID's: unbiased, and equal to a plain computation."""

import numpy as np
import pytest

from pipelines.evaluate.metrics.kernels import (
    KernelMeans,
    clip_gaussian,
    mmd_across_captions,
    mmd_by_caption,
    polynomial,
)


def rows(seed, shape, mean=0.0):
    return np.random.default_rng(seed).normal(mean, 1.0, shape)


def distance(drawn, real):
    return mmd_by_caption(KernelMeans.of(drawn), KernelMeans.of(real))


def kernel(x, y):
    return (np.dot(x, y) / len(x) + 1.0) ** 3


def plain(a, b):
    """Write out Gretton's eq. 3."""
    n, m = len(a), len(b)
    within_a = sum(kernel(a[i], a[j]) for i in range(n) for j in range(n) if i != j)
    within_b = sum(kernel(b[i], b[j]) for i in range(m) for j in range(m) if i != j)
    between = sum(kernel(x, y) for x in a for y in b)
    return within_a / (n * (n - 1)) + within_b / (m * (m - 1)) - 2.0 * between / (n * m)


def test_of_one_caption_it_is_grettons_estimate():
    drawn, real = rows(0, (1, 4, 5)), rows(1, (1, 6, 5), 0.5)
    assert distance(drawn, real)[0] == pytest.approx(plain(drawn[0], real[0]))


def test_leaving_out_a_caption_is_what_it_says():
    drawn, real = rows(0, (3, 4, 5)), rows(1, (3, 6, 5), 0.5)
    value, pseudo = distance(drawn, real)
    for index in range(3):
        left = distance(np.delete(drawn, index, 0), np.delete(real, index, 0))[0]
        assert pseudo[index] == pytest.approx(3 * value - 2 * left)


def test_the_kernel_is_kids():
    assert (
        polynomial(np.array([[1.0, 2.0]]), np.array([[3.0, 4.0]])).item() == (11.0 / 2.0 + 1) ** 3
    )


def test_its_expectation_is_zero_for_equal_distributions_whatever_the_size():
    captions = 2.0 * rows(9, (4, 1, 3))  # images of one caption are alike
    for size in (2, 10):
        values = [
            distance(
                captions + rows(2 * seed, (4, size, 3)), captions + rows(2 * seed + 1, (4, size, 3))
            )[0]
            for seed in range(400)
        ]
        assert abs(np.mean(values)) < 4.0 * np.std(values) / np.sqrt(len(values))
        assert min(values) < 0.0


def test_a_set_against_itself_and_against_a_copy_score_alike():
    features = rows(0, (3, 5, 4))
    one, copy = distance(features, features), distance(features, features.copy())
    assert one[0] == copy[0]


def test_for_gaussians_of_one_dimension_it_has_a_closed_form():
    # E (xy + 1)³ for x, y of means a, b and deviation 1.
    def mean(a, b):
        first, second, third = a * b, (a * a + 1) * (b * b + 1), (a**3 + 3 * a) * (b**3 + 3 * b)
        return third + 3 * second + 3 * first + 1

    expected = mean(0, 0) + mean(1, 1) - 2 * mean(0, 1)
    found, _ = distance(rows(0, (1, 3000, 1)), rows(1, (1, 3000, 1), 1.0))
    assert found == pytest.approx(expected, rel=0.1)


def test_one_image_a_caption_is_refused_and_one_caption_has_no_pseudo_value():
    with pytest.raises(ValueError, match="two images"):
        KernelMeans.of(rows(0, (3, 1, 2)))
    assert np.isnan(distance(rows(0, (1, 3, 2)), rows(1, (1, 3, 2)))[1]).all()


def test_across_captions_it_is_the_u_statistic():
    drawn, real = rows(0, (4, 1, 3)), rows(1, (4, 1, 3), 0.5)
    pairs = [(i, j) for i in range(4) for j in range(4) if i != j]
    expected = np.mean(
        [
            kernel(drawn[i, 0], drawn[j, 0])
            + kernel(real[i, 0], real[j, 0])
            - kernel(drawn[i, 0], real[j, 0])
            - kernel(real[i, 0], drawn[j, 0])
            for i, j in pairs
        ]
    )
    value, pseudo = mmd_across_captions(drawn, real)
    assert value == pytest.approx(expected)
    for index in range(4):
        left = mmd_across_captions(np.delete(drawn, index, 0), np.delete(real, index, 0))[0]
        assert pseudo[index] == pytest.approx(4 * value - 3 * left)


def test_across_captions_many_samples_of_each_change_no_expectation():
    """Samples of one caption are alike, so they must not count as more captions."""
    values = []
    for seed in range(300):
        captions = 2.0 * rows(3 * seed, (6, 1, 3))
        others = 2.0 * rows(3 * seed + 1, (6, 1, 3))
        values.append(
            mmd_across_captions(captions + rows(3 * seed + 2, (6, 8, 3)) * 0.1, others)[0]
        )
    assert abs(np.mean(values)) < 4.0 * np.std(values) / np.sqrt(len(values))


def test_the_gaussian_kernel_is_cmmds():
    a, b = np.array([[1.0, 0.0]]), np.array([[0.0, 1.0]])
    assert clip_gaussian(a, a).item() == 1000.0
    assert clip_gaussian(a, b).item() == pytest.approx(1000.0 * np.exp(-2.0 / 200.0))


def test_of_two_captions_no_pseudo_value_and_of_one_nothing():
    value, pseudo = mmd_across_captions(rows(0, (2, 1, 2)), rows(1, (2, 1, 2)))
    assert np.isfinite(value) and np.isnan(pseudo).all()
    assert np.isnan(mmd_across_captions(rows(0, (1, 1, 2)), rows(1, (1, 1, 2)))[0])

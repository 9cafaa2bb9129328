import numpy as np
import pytest
from scipy.linalg import sqrtm

from pipelines.evaluate.metrics.frechet import Moments, frechet_by_caption, frechet_distance


def rng():
    return np.random.default_rng(0)


def with_moments(mean, covariance, n=50):
    mean = np.asarray(mean, float)
    return Moments(n, mean, np.asarray(covariance, float) * (n - 1))


def test_diagonal_gaussians_have_the_closed_form():
    a = with_moments([0.0, 1.0, -2.0], np.diag([1.0, 4.0, 0.25]))
    b = with_moments([3.0, 1.0, 0.0], np.diag([9.0, 1.0, 0.25]))
    expected = (9.0 + 0.0 + 4.0) + (1 - 3) ** 2 + (2 - 1) ** 2 + 0.0
    assert frechet_distance(a, b) == pytest.approx(expected, rel=1e-12)
    assert frechet_distance(b, a) == pytest.approx(expected, rel=1e-12)


def test_correlated_gaussians_agree_with_scipys_matrix_root():
    mixes = rng().normal(size=(2, 12, 12))
    covariances = [m @ m.T for m in mixes]
    a, b = with_moments(np.zeros(12), covariances[0]), with_moments(np.ones(12), covariances[1])
    root = np.real(sqrtm(covariances[0] @ covariances[1]))
    expected = 12.0 + np.trace(covariances[0] + covariances[1] - 2.0 * root)
    assert frechet_distance(a, b) == pytest.approx(expected, rel=1e-8)


def test_a_set_is_at_distance_zero_from_itself_even_with_a_singular_covariance():
    rows = rng().normal(size=(5, 40))
    assert frechet_distance(Moments.of(rows), Moments.of(rows)) == pytest.approx(0.0, abs=1e-6)
    same = Moments.of(np.ones((4, 3)))
    assert frechet_distance(same, same) == 0.0


def test_streamed_moments_equal_those_taken_at_once():
    rows = rng().normal(5.0, 2.0, size=(100, 7)).astype(np.float32)
    streamed = Moments.empty(7).add(rows[:1]).add(rows[1:1]).add(rows[1:60]).add(rows[60:])
    assert streamed.n == 100
    np.testing.assert_allclose(streamed.mean, rows.astype(float).mean(0), rtol=1e-12)
    np.testing.assert_allclose(streamed.covariance, np.cov(rows.astype(float).T), rtol=1e-10)


def test_a_union_equals_the_moments_of_all_rows():
    parts = np.split(rng().normal(5.0, 2.0, size=(60, 4)), [1, 1, 30])
    union, whole = Moments.union([Moments.of(p) for p in parts]), Moments.of(np.concatenate(parts))
    assert union.n == whole.n
    np.testing.assert_allclose(union.mean, whole.mean, rtol=1e-12)
    np.testing.assert_allclose(union.scatter, whole.scatter, rtol=1e-10)


def test_one_row_has_no_covariance():
    with pytest.raises(ValueError, match="two rows"):
        _ = Moments.of(np.zeros((1, 3))).covariance


def test_the_jackknife_of_captions_recovers_the_distance():
    drawn = [Moments.of(rng().normal(i * 0.1, 1.0, (400, 3))) for i in range(5)]
    real = [Moments.of(np.random.default_rng(9).normal(2.0, 1.0, (400, 3))) for _ in range(5)]
    value, pseudo = frechet_by_caption(drawn, real)
    assert pseudo.shape == (5,)
    assert pseudo.mean() == pytest.approx(value, rel=0.02)
    whole, single = frechet_by_caption(drawn[:1], real[:1])
    assert whole == pytest.approx(frechet_distance(drawn[0], real[0]))
    assert np.isnan(single).all()

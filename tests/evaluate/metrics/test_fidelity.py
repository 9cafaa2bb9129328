import numpy as np
import pytest
from scipy.linalg import sqrtm

from pipelines.evaluate.metrics.fidelity import (
    Moments,
    edge_energy,
    frechet_by_caption,
    frechet_distance,
    prdc,
    radii,
)


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


def precision_recall(real, drawn):
    shares = prdc(real, drawn)
    return float(shares.precise.mean()), float(shares.recalled.mean())


def brute_force(real, drawn, k):
    def reach(points):
        return [np.sort(np.linalg.norm(points - p, axis=1))[k] for p in points]

    def inside(points, centres):
        bounds = np.array(reach(centres)) * (1 + 1e-12)
        return np.mean([(np.linalg.norm(centres - p, axis=1) <= bounds).any() for p in points])

    return inside(drawn, real), inside(real, drawn)


@pytest.mark.parametrize("block", [7, 1024])
def test_precision_and_recall_agree_with_brute_force_whatever_the_block(monkeypatch, block):
    monkeypatch.setattr("pipelines.evaluate.metrics.fidelity.BLOCK", block)
    real, drawn = rng().normal(size=(80, 4)), rng().normal(0.7, 0.6, size=(60, 4))
    assert precision_recall(real, drawn) == pytest.approx(brute_force(real, drawn, 3))


def test_a_dropped_mode_costs_recall_and_not_precision():
    modes = np.array([[0.0, 0.0], [50.0, 0.0]])
    real = np.concatenate([rng().normal(m, 1.0, (100, 2)) for m in modes])
    drawn = np.random.default_rng(1).normal(modes[0], 1.0, (200, 2))
    precision, recall = precision_recall(real, drawn)
    assert precision > 0.9
    assert 0.4 < recall <= 0.5


def test_equal_sets_reach_each_other_and_far_ones_do_not():
    real = rng().normal(size=(30, 3))
    assert precision_recall(real, real) == (1.0, 1.0)
    assert precision_recall(real, real + 1e3) == (0.0, 0.0)


@pytest.mark.parametrize("block", [7, 1024])
def test_density_and_coverage_agree_with_brute_force(monkeypatch, block):
    monkeypatch.setattr("pipelines.evaluate.metrics.fidelity.BLOCK", block)
    real, drawn = rng().normal(size=(60, 3)), rng().normal(0.5, 0.8, size=(40, 3))
    reach = [np.sort(np.linalg.norm(real - p, axis=1))[3] * (1 + 1e-12) for p in real]
    inside = np.array(
        [[np.linalg.norm(d - r) <= b for r, b in zip(real, reach, strict=True)] for d in drawn]
    )
    shares = prdc(real, drawn)
    np.testing.assert_allclose(shares.density, inside.sum(1) / 3)
    np.testing.assert_array_equal(shares.covered, inside.any(0))


@pytest.mark.parametrize("size", [(256, 64), (100, 128), (600, 32)])
def test_a_set_against_itself_has_a_density_of_one(size):
    rows = rng().normal(size=size)
    assert prdc(rows, rows).density.mean() == 1.0


def test_an_outlier_reaches_far_in_recall_but_not_in_coverage():
    real = rng().normal(size=(100, 2))
    drawn = np.concatenate([real[:4] - 20.0, [[1e4, 1e4]]])
    shares = prdc(real, drawn)
    assert shares.recalled.all()  # the outlier's third neighbour lies behind them all
    assert not shares.covered.any()


def test_radii_do_not_count_the_point_itself_and_small_sets_are_refused():
    assert radii(np.array([[0.0], [1.0], [3.0], [7.0]]), k=1).tolist() == [1.0, 1.0, 4.0, 16.0]
    for sizes in ((3, 9), (9, 3)):
        with pytest.raises(ValueError, match="more than 3 images, got 3"):
            prdc(*(np.zeros((size, 2)) for size in sizes))


def test_blur_lowers_the_edge_energy_and_noise_raises_it():
    stripes = np.zeros((1, 8, 8, 3), np.uint8)
    stripes[:, :, ::2] = 255
    assert edge_energy(stripes).tolist() == [1.0]
    grey = np.full_like(stripes, 127)
    assert edge_energy(grey).tolist() == [0.0]

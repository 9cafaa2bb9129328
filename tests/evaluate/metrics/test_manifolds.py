import numpy as np
import pytest

from pipelines.evaluate.metrics.manifolds import Balls, prdc


def rng():
    return np.random.default_rng(0)


def shares_of(real, drawn):
    return prdc(Balls.around(real), Balls.around(drawn))


def precision_recall(real, drawn):
    shares = shares_of(real, drawn)
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
    monkeypatch.setattr("pipelines.evaluate.metrics.manifolds.BLOCK", block)
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
    monkeypatch.setattr("pipelines.evaluate.metrics.manifolds.BLOCK", block)
    real, drawn = rng().normal(size=(60, 3)), rng().normal(0.5, 0.8, size=(40, 3))
    reach = [np.sort(np.linalg.norm(real - p, axis=1))[3] * (1 + 1e-12) for p in real]
    inside = np.array(
        [[np.linalg.norm(d - r) <= b for r, b in zip(real, reach, strict=True)] for d in drawn]
    )
    shares = shares_of(real, drawn)
    np.testing.assert_allclose(shares.density, inside.sum(1) / 3)
    np.testing.assert_array_equal(shares.covered, inside.any(0))


@pytest.mark.parametrize("size", [(256, 64), (100, 128), (600, 32)])
def test_a_set_against_itself_has_a_density_of_one(size):
    rows = rng().normal(size=size)
    assert shares_of(rows, rows).density.mean() == 1.0


def test_an_outlier_reaches_far_in_recall_but_not_in_coverage():
    real = rng().normal(size=(100, 2))
    drawn = np.concatenate([real[:4] - 20.0, [[1e4, 1e4]]])
    shares = shares_of(real, drawn)
    assert shares.recalled.all()  # the outlier's third neighbour lies behind them all
    assert not shares.covered.any()


def test_radii_do_not_count_the_point_itself_and_small_sets_are_refused():
    points = np.array([[0.0], [1.0], [3.0], [7.0]])
    assert Balls.around(points, k=1).reach.tolist() == [1.0, 1.0, 4.0, 16.0]
    with pytest.raises(ValueError, match="more than 3 images, got 3"):
        Balls.around(points[:3])


@pytest.mark.parametrize("k", [1, 3, 10, 40])
def test_a_ball_reaches_the_kth_neighbour(k):
    points = rng().normal(size=(150, 3))
    apart = ((points[:, None] - points[None]) ** 2).sum(-1)
    assert Balls.around(points, k).reach == pytest.approx(np.sort(apart, axis=1)[:, k])
    for count in (1, k):
        with pytest.raises(ValueError, match="neighbours need more"):
            Balls.around(points[:count], k)


def test_balls_are_closed_for_precision_and_recall_and_open_for_density_and_coverage():
    real = Balls.around(np.array([[0.0], [1.0], [2.0], [3.0]]), 1)
    drawn = Balls.around(np.array([[4.0], [5.0], [6.0], [7.0]]), 1)
    found = prdc(real, drawn)
    assert found.precise.tolist() == [True, False, False, False]
    assert found.recalled.tolist() == [False, False, False, True]
    assert not found.density.any() and not found.covered.any()

import numpy as np
import pytest

from pipelines.evaluate.metrics.diversity import cosine_matrix, mss, unit, vendi


def test_alike_samples_have_similarity_one_and_a_vendi_score_of_one():
    rows = np.tile([3.0, -4.0, 0.5], (10, 1))
    assert mss(rows) == pytest.approx(1.0)
    assert vendi(rows) == pytest.approx(1.0)


def test_orthogonal_samples_count_as_many_as_they_are():
    assert mss(np.eye(6)) == pytest.approx(0.0)
    assert vendi(np.eye(6) * 7.0) == pytest.approx(6.0)


def test_groups_of_copies_count_as_groups_with_their_weights():
    rows = np.repeat(np.eye(3), [1, 2, 5], axis=0)
    p = np.array([1, 2, 5]) / 8
    assert vendi(rows) == pytest.approx(np.exp(-(p * np.log(p)).sum()))
    assert mss(rows) == pytest.approx((2 + 20) / (8 * 7))


@pytest.mark.parametrize(
    ("order", "expected"),
    [
        (0.0, 3.0),
        (0.5, np.sqrt([1 / 8, 2 / 8, 5 / 8]).sum() ** 2),
        (2.0, 64 / (1 + 4 + 25)),
        (np.inf, 8 / 5),
    ],
)
def test_orders_have_closed_forms_for_groups_of_copies(order, expected):
    assert vendi(np.repeat(np.eye(3), [1, 2, 5], axis=0), order) == pytest.approx(expected)


def test_a_higher_order_never_scores_more_and_order_one_is_a_limit():
    rows = np.random.default_rng(0).normal(size=(12, 5))
    scores = [vendi(rows, order) for order in (0.1, 0.999, 1.0, 1.001, 2.0, 50.0, np.inf)]
    assert scores == sorted(scores, reverse=True)
    assert scores[1] == pytest.approx(scores[2], rel=1e-3) == pytest.approx(scores[3], rel=1e-3)


def test_two_samples_at_an_angle_have_the_closed_form():
    cosine = 0.6
    rows = np.array([[1.0, 0.0], [cosine, 0.8]])
    values = np.array([(1 + cosine) / 2, (1 - cosine) / 2])
    assert mss(rows) == pytest.approx(cosine)
    assert vendi(rows) == pytest.approx(np.exp(-(values * np.log(values)).sum()))


def test_mss_leaves_the_diagonal_out():
    rows = np.random.default_rng(0).normal(size=(9, 5))
    with_diagonal = cosine_matrix(rows).mean()
    assert with_diagonal == pytest.approx((1 + 8 * mss(rows)) / 9)


@pytest.mark.parametrize("bad", [0.0, np.nan, np.inf])
def test_features_without_a_direction_are_refused(bad):
    rows = np.ones((3, 2))
    rows[1] = bad
    with pytest.raises(ValueError, match="finite and not zero"):
        vendi(rows)


def test_too_few_samples_are_refused():
    with pytest.raises(ValueError, match="similarity"):
        mss(np.ones((1, 3)))
    with pytest.raises(ValueError, match="Vendi"):
        vendi(np.ones((0, 3)))


def test_rows_of_any_stack_are_scaled_by_themselves():
    stack = np.random.default_rng(0).normal(size=(2, 3, 4))
    assert unit(stack) == pytest.approx(np.stack([unit(rows) for rows in stack]))
    assert np.linalg.norm(unit(stack), axis=2) == pytest.approx(np.ones((2, 3)))

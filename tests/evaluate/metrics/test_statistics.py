from itertools import product

import numpy as np
import pytest

from pipelines.evaluate.metrics.statistics import (
    Estimate,
    Interval,
    clustered,
    combine,
    difference_of_differences,
    jackknife,
    ratio,
    resampled_means,
)


def table(mean=0.0, captions=40, seeds=3, seed=0):
    return np.random.default_rng(seed).normal(mean, 1.0, (captions, seeds))


def test_an_interval_is_as_wide_as_the_captions_spread():
    rows = np.random.default_rng(0).normal(5.0, 2.0, (400, 1))
    got = Estimate.mean_of(rows).interval()
    half = 1.96 * 2.0 / np.sqrt(400)
    assert got.value == pytest.approx(rows.mean())
    assert got.value - got.low == pytest.approx(half, rel=0.15)
    assert got.high - got.value == pytest.approx(half, rel=0.15)


def test_seeds_count_as_a_factor():
    # All captions move together with the seed: three seeds, so the interval must stay wide.
    by_seed = np.repeat([[-1.0, 0.0, 1.0]], 500, axis=0)
    got = Estimate.mean_of(by_seed).interval()
    assert got.high - got.low > 1.0


def test_coverage_of_the_true_mean_is_near_the_level():
    hits = 0
    for trial in range(200):
        got = Estimate.mean_of(table(seeds=1, seed=trial)).interval()
        hits += got.low <= 0.0 <= got.high
    assert 178 <= hits <= 198


def test_missing_cells_are_left_out():
    rows = table()
    rows[:10, 0] = np.nan
    got = Estimate.mean_of(rows)
    assert got.value == pytest.approx(np.nanmean(rows))
    assert np.isfinite(got.interval().low)
    nothing = Estimate.mean_of(np.full((3, 2), np.nan)).interval()
    assert np.isnan([nothing.value, nothing.low, nothing.high]).all()


def test_one_caption_gives_no_interval():
    # A bootstrap of one caption is that caption every time: an interval of zero width.
    one = Estimate.mean_of(table(5.0, captions=1))
    alone = np.full((40, 3), np.nan)
    alone[7] = 5.0
    for estimate in (one, Estimate.mean_of(alone)):
        got = estimate.interval()
        assert np.isfinite(got.value) and not got.known
        assert np.isnan([got.low, got.high]).all()
    quotient = ratio(one, one)
    assert quotient.value == 1.0 and not quotient.known
    change = difference_of_differences((one, one), (one, one))
    assert change.value == 0.0 and not change.known


def test_an_estimate_counts_the_pictures_behind_its_known_cells():
    rows = np.array([[1.0, np.nan], [3.0, 2.0]])
    got = Estimate.mean_of(rows, np.array([[8, 1], [6, 4]]))
    assert (got.value, got.pictures, got.skipped) == (2.0, 18, 1)
    assert (Estimate.mean_of(rows).pictures, Estimate.mean_of(rows).skipped) == (None, 1)


def test_the_difference_of_differences_is_paired():
    caption_effect = table(0.0) * 10.0
    start = Estimate.mean_of(caption_effect)
    fallen = Estimate.mean_of(caption_effect - 2.0)
    kept = Estimate.mean_of(caption_effect - 0.5)
    got = difference_of_differences((start, fallen), (start, kept))
    assert got.value == pytest.approx(1.5)
    assert got.low == pytest.approx(1.5) and got.high == pytest.approx(1.5)


def test_no_difference_gives_an_interval_around_zero():
    parts = [Estimate.mean_of(table(seed=i)) for i in range(4)]
    got = difference_of_differences((parts[0], parts[1]), (parts[2], parts[3]))
    assert got.low < got.value < got.high
    assert got.low < 0.0 < got.high


def test_a_number_that_is_no_average_keeps_its_value():
    rows = table(3.0)
    got = Estimate(2.5, rows).interval()
    plain = Estimate.mean_of(rows).interval()
    assert got.value == 2.5
    assert got.high - got.low == pytest.approx(plain.high - plain.low)


def test_a_ratio_of_proportional_tables_is_exact_and_of_zero_undefined():
    below = Estimate.mean_of(table(9.0))
    got = ratio(combine([(2.0, below)]), below)
    assert (got.value, got.low, got.high) == pytest.approx((2.0, 2.0, 2.0))
    assert np.isnan(ratio(below, Estimate.mean_of(np.zeros((40, 3)))).value)


def test_pseudo_values_of_a_mean_are_its_parts():
    parts = np.array([2.0, 3.0, 7.0, 9.0])
    whole, pseudo = jackknife(lambda used: float(parts[used].mean()), 4)
    assert whole == pytest.approx(5.25)
    assert pseudo == pytest.approx(parts)


def test_pseudo_values_follow_the_formula_and_are_unknown_where_a_caption_is():
    parts = np.array([2.0, 99.0, 3.0])
    whole, pseudo = jackknife(lambda used: float(parts[used].sum() ** 2), 3, [0, 2])
    assert whole == 25.0
    assert pseudo == pytest.approx([2 * 25.0 - 9.0, np.nan, 2 * 25.0 - 4.0], nan_ok=True)
    alone, unknown = jackknife(lambda used: float(parts[used].sum()), 3, [1])
    assert alone == 99.0 and np.isnan(unknown).all()


def test_a_number_of_captions_repeats_for_every_seed():
    got = Estimate.of_captions(4.0, np.array([1.0, 2.0]), 3)
    np.testing.assert_array_equal(got.table, [[1.0, 1.0, 1.0], [2.0, 2.0, 2.0]])
    assert (got.value, got.pictures, got.skipped) == (4.0, None, 0)


def test_a_ratio_is_centred_on_its_value_and_leaves_out_resamples_without_a_denominator():
    constant = np.full((4, 2), 5.0)
    got = ratio(Estimate(6.0, constant), Estimate(2.0, constant))
    assert (got.value, got.low, got.high) == pytest.approx((3.0, 3.0, 3.0))
    swinging = Estimate.mean_of(np.array([[-1.0], [1.0], [-1.0], [1.5]]))
    quotient = ratio(Estimate(-1.0, np.zeros((4, 1))), swinging)
    assert quotient.value == pytest.approx(-8.0)
    assert quotient.low < quotient.high < 0.0


def test_the_ends_of_an_interval_leave_out_equal_tails():
    rows = table(captions=6, seeds=1)
    got = Estimate.mean_of(rows).interval()
    ends = np.quantile(resampled_means(rows), [0.025, 0.975])
    assert (got.low, got.high) == pytest.approx(tuple(ends))


def test_a_single_known_cell_is_the_mean():
    alone = np.full((3, 2), np.nan)
    alone[1, 0] = 7.0
    assert Estimate.mean_of(alone).value == 7.0


def test_two_captions_give_an_interval_and_half_an_interval_is_none():
    assert Estimate.mean_of(np.array([[0.0], [1.0]])).interval().known
    assert not Interval(1.0, float("nan"), 2.0).known
    assert not Interval(1.0, 0.0, float("nan")).known


def test_a_ratio_to_a_negative_number_is_undefined():
    rows = table(-9.0)
    assert np.isnan(ratio(Estimate.mean_of(rows), Estimate.mean_of(rows)).value)


def test_resamples_average_whole_captions_and_seeds_and_are_repeatable():
    rows, columns = np.array([0.0, 1.0, 10.0]), np.array([0.0, 100.0])
    draws = resampled_means(rows[:, None] + columns)
    np.testing.assert_array_equal(draws, resampled_means(rows[:, None] + columns))
    possible = {
        round(np.mean([rows[list(r)].mean() + columns[list(c)].mean()]), 6)
        for r in product(range(3), repeat=3)
        for c in product(range(2), repeat=2)
    }
    assert {round(value, 6) for value in draws} <= possible and len(set(draws)) > 20


def test_missing_cells_are_left_out_of_a_resample():
    rows = np.array([[1.0, np.nan], [3.0, 3.0]])
    found = resampled_means(rows)
    assert set(found[np.isfinite(found)].round(6)) == {1.0, 3.0, 2.0, round(7 / 3, 6)}


def test_captions_of_one_cluster_are_resampled_together():
    cluster_means = np.random.default_rng(0).normal(size=(10, 1))
    rows = cluster_means.repeat(8, axis=0)  # eight wordings of each of ten contents
    names = [str(index // 8) for index in range(80)]
    apart = Estimate.mean_of(rows).interval()
    together = clustered({"x": Estimate.mean_of(rows)}, names)["x"].interval()
    of_ten = Estimate.mean_of(cluster_means).interval()
    assert (together.low, together.high) == pytest.approx((of_ten.low, of_ten.high))
    assert together.high - together.low > 2.0 * (apart.high - apart.low)
    one = clustered({"x": Estimate.mean_of(rows)}, ["same"] * 80)["x"]
    assert not one.interval().known
    both = combine([(1.0, one), (-1.0, one)])
    assert both.clusters == one.clusters


def test_a_ratio_counts_captions_without_anything_as_known():
    part = Estimate.mean_of(np.array([[1.0], [0.0], [1.0], [0.0], [2.0]]))
    found = ratio(part, part)
    assert found.known and found.value == found.low == found.high == 1.0

import numpy as np
import pytest

from pipelines.evaluate.metrics.compare import (
    GAP,
    HEADLINES,
    PARITY_CAPTIONS,
    PARITY_SEEDS,
    WINDOW,
    Check,
    aims,
    changes,
    gaps,
)
from pipelines.evaluate.metrics.compare import parity as parity_of
from pipelines.evaluate.metrics.statistics import Estimate, Interval

SCALES = (1.0, 7.5)
ENTROPIES = ("entropy.colour", "entropy.place")
START = {
    **dict.fromkeys(HEADLINES, 1.0),
    "entropy.colour": 1.6,
    "entropy.colour.real": 1.6,
    "entropy.place": 1.7,
    "entropy.place.real": 1.7,
    "frechet": 0.2,
    "recall": 0.8,
    "boxes.of_ceiling": 0.95,
}


def estimates(shape=(12, 3), **values):
    rng = np.random.default_rng(0)
    noise = rng.normal(0.0, 0.01, shape)
    noise -= noise.mean()
    return {name: Estimate.mean_of(value + noise) for name, value in (START | values).items()}


def results(**ends):
    base = {(model, scale): estimates() for model in ("baseline", "kaleido") for scale in SCALES}
    return base | ends.get("over", {})


def parity(found, unknown=""):
    return parity_of(found, unknown, ENTROPIES)


def test_equal_models_at_the_datas_level_are_sound():
    got = parity(results())
    assert got.sound and got.reason == ""
    assert len(got.checks) == 5 and all(check.passed for check in got.checks)


@pytest.mark.parametrize(
    ("model", "value", "named"),
    [
        ("baseline", {"entropy.colour": 1.6 * 0.94}, "Baseline: colour"),
        ("kaleido", {"entropy.place": 1.7 * 0.94}, "Kaleido: place"),
        ("baseline", {"frechet": 0.2 * 1.26}, "Fréchet"),
        ("baseline", {"entropy.colour": float("nan")}, "Baseline: colour"),
    ],
)
def test_an_undertrained_model_makes_the_comparison_void(model, value, named):
    got = parity(results(over={(model, 1.0): estimates(**value)}))
    assert not got.sound
    assert named in got.reason
    assert sum(not check.passed for check in got.checks) == 1


def test_what_could_not_be_measured_is_not_called_undertrained():
    unknown = estimates(**{"entropy.colour": float("nan")})
    got = parity(results(over={("baseline", 1.0): unknown}))
    assert got.reason.startswith("parity at CFG 1 could not be measured (Baseline: colour")


def test_real_pictures_may_be_too_few_to_tell_parity():
    got = parity(results(), unknown="they are too few.")
    assert (got.sound, got.reason) == (False, "they are too few.")
    undertrained = results(over={("baseline", 1.0): estimates(frechet=1.0)})
    assert "Fréchet" in parity(undertrained, unknown="they are too few.").reason


def test_a_condition_is_sure_if_its_whole_interval_keeps_the_bound():
    def check(low, high, sign="<="):
        return Check("x", Interval((low + high) / 2, low, high), sign, 1.25, True)

    assert check(0.3, 1.2).sure and not check(0.3, 3.7).sure
    assert check(1.3, 1.4, ">=").sure and not check(1.2, 1.4, ">=").sure
    assert not check(float("nan"), float("nan")).sure


@pytest.mark.parametrize("shape", [(7, 3), (8, 2)])
def test_parity_of_a_few_pictures_is_not_known(shape):
    got = parity(results(over={(m, 1.0): estimates(shape) for m in ("baseline", "kaleido")}))
    assert all(check.passed for check in got.checks) and not got.sound
    assert f"captions: {shape[0]}, seeds: {shape[1]}" in got.reason


def test_without_cfg_1_or_a_model_nothing_is_proved():
    only = {key: value for key, value in results().items() if key[0] == "kaleido"}
    assert "missing: baseline" in parity(only).reason
    assert changes(only) == [] and aims(only) == []
    high = {key: value for key, value in results().items() if key[1] > 1.0}
    assert not parity(high).sound
    assert changes(high) == [] and aims(high) == []


def test_changes_are_from_cfg_1_to_the_highest_scale():
    over = {
        ("baseline", 7.5): estimates(vendi=0.4, recall=0.2),
        ("kaleido", 7.5): estimates(vendi=0.9, recall=0.7),
    }
    got = {change.metric: change for change in changes(results(over=over), ENTROPIES)}
    assert set(got) == {*HEADLINES, *ENTROPIES}
    assert got["vendi"].baseline.value == pytest.approx(-0.6)
    assert got["vendi"].kaleido.value == pytest.approx(-0.1)
    assert got["vendi"].difference.value == pytest.approx(0.5)
    assert got["vendi"].difference.low > 0.4
    assert got["entropy.place"].difference.value == pytest.approx(0.0)


def test_aims_compare_with_the_baseline_at_cfg_seven_and_a_half():
    over = {
        ("baseline", 7.5): estimates(vendi=1.0, mss=1.0, frechet=1.0, recall=0.3),
        ("kaleido", 7.5): estimates(vendi=1.3, mss=0.7, frechet=0.5, recall=0.6),
        # Neither a lower scale than 1 nor a higher than 7.5 takes part.
        **{(model, cfg): estimates() for model in ("baseline", "kaleido") for cfg in (0.5, 10.0)},
    }
    got = {check.name.split()[0]: check for check in aims(results(over=over))}
    assert all(check.passed for check in got.values()) and len(got) == 5
    assert got["Recall"].limit == 1.9 and got["Recall"].interval.value == pytest.approx(2.0)
    assert got["Boxes"].interval.value == pytest.approx(0.95)
    limits = {name: (check.sign, check.limit) for name, check in got.items()}
    assert limits == {
        "Vendi": (">=", 1.25),
        "MSS": ("<=", 0.76),
        "Recall": (">=", 1.9),
        "Fréchet": ("<=", 0.6),
        "Boxes": (">=", 0.9),
    }


def test_a_baseline_with_good_recall_is_not_asked_to_be_doubled():
    over = {("kaleido", 7.5): estimates(recall=0.7)}
    recall = next(c for c in aims(results(over=over)) if c.name.startswith("Recall"))
    assert recall.limit == 0.9
    assert recall.interval.value == pytest.approx(0.7 / 0.8)
    assert not recall.passed


def test_each_aim_is_met_against_the_better_of_two_rivals():
    over = {
        ("baseline", 7.5): estimates(vendi=0.5, mss=0.9, frechet=0.3, recall=0.2),
        ("window", 7.5): estimates(vendi=0.8, mss=0.5, frechet=0.4, recall=0.4),
        ("kaleido", 7.5): estimates(vendi=1.0, mss=0.4, frechet=0.2, recall=0.6),
    }
    got = {check.name.split()[0]: check for check in aims(results(over=over))}
    shares = {name: check.interval.value for name, check in got.items()}
    assert shares["Vendi"] == pytest.approx(1.0 / 0.8)
    assert shares["MSS"] == pytest.approx(0.4 / 0.5)
    assert shares["Recall"] == pytest.approx(0.6 / 0.4)
    assert shares["Fréchet"] == pytest.approx(0.2 / 0.3)
    named = {name for name, check in got.items() if "window" in check.name}
    assert named == {"Vendi", "MSS", "Recall"}
    unknown = over | {("window", 7.5): estimates(vendi=float("nan"))}
    vendi = next(c for c in aims(results(over=unknown)) if c.name.startswith("Vendi"))
    assert vendi.interval.value == pytest.approx(1.0 / 0.5)


def test_changes_are_compared_with_the_window_at_the_highest_scale():
    over = {
        **{(model, 3.0): estimates(vendi=0.6) for model in ("baseline", "kaleido", "window")},
        ("window", 7.5): estimates(vendi=0.7),
        ("kaleido", 7.5): estimates(vendi=0.9),
    }
    got = {change.metric: change for change in changes(results(over=over), ENTROPIES)}
    assert got["vendi"].rival.value == pytest.approx(0.7 - 1.0)
    assert got["vendi"].over_rival.value == pytest.approx(0.9 - 0.7)


def test_gaps_are_those_at_the_scale_of_the_given_z():
    found = results() | {("given", 7.5): estimates(recall=0.9)}
    found |= {("a", 1.0): estimates(), ("kaleido", 7.5): estimates(recall=0.6)}
    metric = GAP[0]
    found["kaleido", 7.5][metric] = Estimate.mean_of(np.full((12, 3), 0.6))
    found["given", 7.5][metric] = Estimate.mean_of(np.full((12, 3), 0.9))
    gap = gaps(found)[0]
    assert gap.metric == metric
    assert (gap.prior.value, gap.data.value) == pytest.approx((0.6, 0.9))
    assert gap.difference.value == pytest.approx(-0.3)
    assert gaps({("z", 1.0): estimates(), ("kaleido", 1.0): estimates()}) == []


@pytest.mark.parametrize("shape", [(PARITY_CAPTIONS, PARITY_SEEDS + 1), (PARITY_CAPTIONS + 1, 9)])
def test_more_pictures_than_parity_needs_are_enough(shape):
    base = {(m, s): estimates(shape) for m in ("baseline", "kaleido") for s in SCALES}
    assert parity(base).sound


def test_the_window_is_the_one_that_the_results_name():
    assert WINDOW == (0.8, 0.5)

import numpy as np
import pytest

from pipelines.evaluate.metrics.compare import HEADLINES, Check, aims, changes
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

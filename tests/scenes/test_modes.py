from collections import Counter

import numpy as np
import pytest

from pipelines.evaluate.observations import FoundObject, Verdict
from pipelines.scenes.factors import COLOURS, P_COLOUR, SHAPES
from pipelines.scenes.modes import (
    DRAWS,
    FACTORS,
    entropy,
    entropy_of_as_many,
    matches,
    mode_coverage,
    mode_entropy,
    rarefied,
)
from pipelines.scenes.oracle import factor_values, known_values
from pipelines.scenes.reference import Asked


def found(shape="circle", colour="red", texture="plain", x=500, y=500, side=300):
    half = side // 2
    return FoundObject(
        shape,
        (x - half, y - half, x + half, y + half),
        0.9,
        {"colour": colour, "texture": texture},
    )


def seen(*objects, background="paper"):
    return Verdict(tuple(objects), background)


def test_only_pictures_with_exactly_the_captioned_objects_count():
    asked = Asked(Counter(circle=1), {})
    verdicts = [seen(found(colour="red")), seen(found(colour="blue"))] * 4
    noise = [seen(found(colour=c), found("star")) for c in ("teal", "pink")] + [seen()]
    assert [matches(verdict, asked) for verdict in verdicts + noise] == [True] * 8 + [False] * 3


def test_a_stated_colour_must_be_kept_and_is_no_mode():
    asked = Asked.by("a red circle and a star")
    right = seen(found(colour="red"), found("star", colour="blue"))
    wrong = seen(found(colour="teal"), found("star", colour="blue"))
    assert matches(right, asked) and not matches(wrong, asked)
    assert len(factor_values([right], asked, "colour")) == 1  # of the star alone
    nothing_open = factor_values([seen(found())] * 9, Asked.by("a red circle"), "colour")
    assert np.isnan(mode_entropy(nothing_open))
    assert np.isnan(entropy_of_as_many(3, nothing_open))


def test_an_objects_factors_are_taken_given_its_shape():
    asked = Asked(Counter(circle=1, star=1), {})
    verdicts = [seen(found(colour="red"), found("star", colour="blue"))] * 10
    assert mode_entropy(factor_values(verdicts, asked, "colour")) == 0.0
    assert mode_coverage(factor_values(verdicts, asked, "colour"), 8) == pytest.approx(1 / 8)


def test_nothing_valid_is_not_a_number():
    for factor in FACTORS:
        nothing = factor_values([], Asked(Counter(circle=1), {}), factor)
        assert np.isnan(mode_entropy(nothing))
        assert np.isnan(mode_coverage(nothing, 8))


def test_the_entropy_of_few_draws_is_hardly_biased():
    p = P_COLOUR[SHAPES.index("circle")]
    truth = -(p * np.log(p)).sum()
    rng = np.random.default_rng(0)
    for n in (6, 16):
        drawn = rng.multinomial(n, p, 2000)
        assert np.mean([entropy(counts) for counts in drawn]) == pytest.approx(truth, rel=0.03)


def test_the_entropy_of_extreme_tallies_is_finite():
    assert entropy([4]) == 0.0
    assert np.isfinite(entropy([1] * 8))
    assert np.isnan(entropy([1]))


def test_a_model_that_draws_as_the_data_has_the_entropy_of_as_many_real_pictures():
    asked, rng = Asked(Counter(circle=1), {}), np.random.default_rng(0)
    p = P_COLOUR[SHAPES.index("circle")]

    def pictures(count):
        verdicts = [seen(found(colour=COLOURS[i])) for i in rng.choice(len(COLOURS), count, p=p)]
        return factor_values(verdicts, asked, "colour")

    drawn, real = zip(
        *(
            (mode_entropy(few), entropy_of_as_many(2, many))
            for few, many in ((pictures(2), pictures(48)) for _ in range(1000))
        ),
        strict=True,
    )
    whole = mode_entropy(pictures(4000))
    assert np.mean(drawn) == pytest.approx(np.mean(real), rel=0.03)
    assert np.mean(drawn) < 0.95 * whole  # against all real pictures it would have failed


def test_what_a_model_does_not_show_has_no_equal_number():
    real = factor_values([seen(found())] * 9, Asked(Counter(circle=1), {}), "colour")
    assert np.isnan(entropy_of_as_many(0, real))
    assert entropy_of_as_many(9, real) == 0.0


def test_rarefaction_equals_the_mean_over_all_subsets():
    rng = np.random.default_rng(0)
    counts = [5, 3, 2, 0, 1, 1, 1, 1]
    items = np.repeat(np.arange(len(counts)), counts)
    draws = [len(set(rng.permutation(items)[:DRAWS])) for _ in range(4000)]
    assert rarefied(counts) == pytest.approx(np.mean(draws), abs=0.05)
    assert rarefied([8]) == pytest.approx(1.0)
    assert rarefied([1] * 8) == pytest.approx(8.0)
    assert np.isnan(rarefied([1, 1, 1]))


@pytest.mark.parametrize("factor", FACTORS)
def test_each_factor_sees_what_it_names(factor):
    asked = Asked(Counter(circle=1), {})
    same = [seen(found())] * 10
    other = {
        "colour": seen(found(colour="blue")),
        "texture": seen(found(texture="striped")),
        "place": seen(found(x=250)),
        "arrangement": seen(found(x=250)),
        "size": seen(found(side=450)),
        "background": seen(found(), background="fog"),
    }[factor]
    assert mode_entropy(factor_values(same, asked, factor)) == 0.0
    mixed = factor_values(same[:5] + [other] * 5, asked, factor)
    assert mode_entropy(mixed) == pytest.approx(np.log(2), rel=0.05)
    known = known_values(factor, 1)
    assert mode_coverage(mixed, known) == pytest.approx(2 / known, rel=0.02)

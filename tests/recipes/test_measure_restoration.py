"""Measuring where a model loses objects."""

from __future__ import annotations

import pytest

from pipelines.core.errors import KaleidoError
from pipelines.embedded.paths import ROOT
from pipelines.models.diffusion import Diffusion
from pipelines.models.prior import Prior
from recipes.measure_prior import captions
from recipes.measure_restoration import LEVELS, measure


def test_little_noise_costs_less_than_much() -> None:
    model, prior = Diffusion.load(ROOT / "baseline"), Prior.load(ROOT / "prior")
    chosen = list(captions(0, 4))
    found = measure(model, prior, chosen, n=3, seed=0)
    assert list(found) == [f"{level:g}" for level in LEVELS]
    assert found["0.15"]["shapes"] > 0.95
    assert found["0.15"]["shapes"] >= found["1"]["shapes"] > 0.5
    assert found["0.15"]["caption"] >= found["1"]["caption"]
    assert found["0.3"]["error"] < found["0.85"]["error"] < found["1"]["error"]


def test_a_model_that_reads_z_is_refused() -> None:
    with pytest.raises(KaleidoError, match="baseline's folder"):
        measure(
            Diffusion.load(ROOT / "diffusion"), Prior.load(ROOT / "prior"), ["two circles"], 1, 0
        )

"""Measuring z as text for each way of decoding."""

from __future__ import annotations

import math

import pytest

from pipelines.embedded.paths import ROOT
from pipelines.latents.sequence import z_from_text
from pipelines.models.prior import Prior
from pipelines.sample.choice import Decoding
from recipes.measure_decoding import DECODINGS, KINDS, drawn_z, measure, real_z

CAPTIONS = ["two circles and a star", "a red heart"]


@pytest.fixture(scope="module")
def prior() -> Prior:
    return Prior.load(ROOT / "prior")


@pytest.fixture(scope="module")
def reference() -> list[list[str]]:
    return real_z(CAPTIONS, 3, 0, "reference")


def test_real_z_are_right_and_do_not_repeat(prior, reference) -> None:
    found = measure(prior, CAPTIONS, real_z(CAPTIONS, 3, 0, "data"), reference)
    assert found["agree"] == found["z.parses"] == 1.0
    assert found["z.loops"] == found["z.description.loops"] == 0.0
    assert found["z.description.repeated4"] < 0.1
    assert found["z.calibration.count"] == 0.0
    assert 1.0 < found["perplexity"] < 200.0
    assert all(math.isfinite(value) for value in found.values())


def test_a_z_that_repeats_and_says_something_else_is_told_apart(prior, reference) -> None:
    text = "<description> a cat a cat a cat a cat <boxes> oval <1><2><300><400>"
    found = measure(prior, CAPTIONS, [[text] * 3] * 2, reference)
    assert found["agree"] == 0.0
    assert found["z.description.loops"] == 1.0
    assert found["z.description.self_bleu4"] == pytest.approx(1.0)
    assert found["z.calibration.count"] > 0.3


def test_decoding_reaches_the_draws(prior) -> None:
    own, greedy = (
        drawn_z(prior, CAPTIONS[:1], 2, 0, each) for each in (Decoding(), Decoding(top_k=1))
    )
    assert own[0][0] != own[0][1]
    assert greedy[0][0] == greedy[0][1]
    assert tuple(z_from_text(greedy[0][0])) == KINDS


def test_each_way_is_measured_once() -> None:
    assert len(set(DECODINGS.values())) == len(DECODINGS)
    assert Decoding() in DECODINGS.values()

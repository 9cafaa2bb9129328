"""Each decoding option changes the distribution as its formula says; transformers is the oracle."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from transformers import (
    LogitsProcessorList,
    MinPLogitsWarper,
    NoRepeatNGramLogitsProcessor,
    RepetitionPenaltyLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
    TypicalLogitsWarper,
)

from pipelines.core.errors import KaleidoError
from pipelines.sample.choice import Decoding, choose, penalise, truncate
from pipelines.workspace.settings import SampleSettings

ORACLES = {
    "temperature": (TemperatureLogitsWarper, [0.3, 1.7]),
    "top_k": (TopKLogitsWarper, [1, 5, 39, 100]),
    "top_p": (TopPLogitsWarper, [0.05, 0.5, 0.95]),
    "min_p": (MinPLogitsWarper, [0.02, 0.3, 1.0]),
    "typical_p": (TypicalLogitsWarper, [0.05, 0.4, 0.9]),
}
CASES = [(name, value) for name, (_, values) in ORACLES.items() for value in values]


def _logits(seed: int, spread: float = 2.0) -> np.ndarray:
    return spread * np.random.default_rng(seed).normal(size=40)


def _expected(processors: list, scores: np.ndarray, text: tuple[int, ...] = ()) -> np.ndarray:
    ids = torch.tensor([text], dtype=torch.long)
    return LogitsProcessorList(processors)(ids, torch.from_numpy(scores)[None])[0].numpy()


@pytest.mark.parametrize(("name", "value"), CASES)
@pytest.mark.parametrize("spread", [0.1, 2.0, 6.0])
def test_an_option_keeps_what_its_formula_keeps(name, value, spread) -> None:
    for seed in range(5):
        scores = _logits(seed, spread)
        expected = _expected([ORACLES[name][0](value)], scores)
        found = truncate(scores, Decoding(**{name: value}))
        assert np.allclose(found, expected)
        assert spread != 2.0 or (value != 100) == (not np.allclose(found, scores))


def test_options_follow_each_other_as_in_transformers() -> None:
    values = {"temperature": 1.4, "top_k": 25, "top_p": 0.9, "min_p": 0.05, "typical_p": 0.8}
    for seed in range(20):
        expected = _expected([ORACLES[name][0](values[name]) for name in values], _logits(seed))
        assert np.allclose(truncate(_logits(seed), Decoding(**values)), expected)


@pytest.mark.parametrize("penalty", [0.5, 1.3, 4.0])
def test_a_penalty_lowers_what_the_text_has(penalty) -> None:
    scores, text = _logits(0), (3, 3, 7, 39)
    expected = _expected([RepetitionPenaltyLogitsProcessor(penalty)], scores, text)
    found = penalise(scores, np.arange(40), text, Decoding(repetition_penalty=penalty))
    assert np.allclose(found, expected)
    assert set(np.flatnonzero(found != scores)) == set(text)


@pytest.mark.parametrize("size", [1, 2, 3, 4])
@pytest.mark.parametrize(
    "text", [(), (1,), (1, 1), (1, 2, 3, 1, 2), (5, 5, 5, 5), (1, 2, 3, 9, 1, 2, 3)]
)
def test_no_n_gram_comes_twice(size, text) -> None:
    scores = _logits(0)
    expected = _expected([NoRepeatNGramLogitsProcessor(size)], scores, text)
    found = penalise(scores, np.arange(40), text, Decoding(no_repeat_ngram=size))
    assert np.array_equal(found, expected)


def test_a_repetition_is_allowed_where_nothing_else_is() -> None:
    legal, scores = np.array([4, 6]), np.array([0.5, 0.1])
    decoding = Decoding(no_repeat_ngram=1)
    assert np.array_equal(penalise(scores, legal, (4, 6), decoding), scores)
    assert penalise(scores, legal, (4,), decoding).tolist() == [-np.inf, 0.1]


def _shares(decoding: Decoding, legal: np.ndarray, text: tuple[int, ...] = ()) -> np.ndarray:
    rng = np.random.default_rng(0)
    scores = _logits(1).astype(np.float32)
    drawn = [choose(scores, legal, rng, decoding, text) for _ in range(20_000)]
    return np.bincount(drawn, minlength=40) / len(drawn)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"temperature": 0.5},
        {"top_k": 3},
        {"top_p": 0.7},
        {"min_p": 0.2},
        {"typical_p": 0.6},
        {"repetition_penalty": 2.0},
        {"no_repeat_ngram": 1},
    ],
    ids=lambda changes: next(iter(changes), "own"),
)
def test_tokens_are_drawn_from_the_legal_part_of_the_new_distribution(changes) -> None:
    decoding, legal = Decoding(**changes), np.flatnonzero(_logits(1) < 3.5)
    text = (int(legal[np.argmax(_logits(1)[legal])]),)
    scores = truncate(penalise(_logits(1)[legal], legal, text, decoding), decoding)
    expected = np.zeros(40)
    expected[legal] = np.exp(scores) / np.exp(scores).sum()
    assert np.abs(_shares(decoding, legal, text) - expected).max() < 0.015
    own = np.exp(_logits(1)[legal]) / np.exp(_logits(1)[legal]).sum()
    assert (np.abs(expected[legal] - own).max() > 0.03) == bool(changes)


def test_a_stream_does_not_depend_on_what_was_legal() -> None:
    """What is drawn second is the same after any first choice, free or forced."""
    seconds = set()
    for legal in (np.arange(40), np.arange(5, 9), np.array([7])):
        rng = np.random.default_rng(3)
        choose(_logits(0), legal, rng, Decoding())
        seconds.add(rng.random())
    assert len(seconds) == 1


def test_numbers_out_of_range_are_refused() -> None:
    bad = {"temperature": 0.0, "top_k": -1, "top_p": 1.5, "min_p": 2.0, "typical_p": 0.0}
    for name, value in (bad | {"repetition_penalty": 0.0, "no_repeat_ngram": -1}).items():
        with pytest.raises(KaleidoError) as caught:
            Decoding(**{name: value})
        assert caught.value.code == "bad-setting"


def test_settings_name_every_option() -> None:
    chosen = {"temperature": 0.9, "top_k": 7, "top_p": 0.8, "min_p": 0.1, "typical_p": 0.9}
    chosen |= {"repetition_penalty": 1.2, "no_repeat_ngram": 3}
    assert Decoding.of(SampleSettings(**chosen)) == Decoding(**chosen)
    assert Decoding.of(SampleSettings()) == Decoding()

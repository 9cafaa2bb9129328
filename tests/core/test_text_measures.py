"""Measures of text have the values that can be counted by hand."""

import math

import pytest

from pipelines.core.text_measures import distinct, loops, repetition, self_bleu, words, zipf


def test_words_of_z_are_markers_numbers_and_words():
    z = "<boxes> red star <1><22><333><4> <;> <palette> <5>"
    assert words(z) == [
        *("<boxes>", "red", "star", "<1>", "<22>", "<333>", "<4>", "<;>", "<palette>", "<5>")
    ]
    assert words("a<b c> d") == ["a", "<", "b", "c", ">", "d"]
    assert words("  ") == []


def test_distinct_counts_over_all_texts():
    assert distinct([["a", "b", "a", "b"], ["a", "b"]], 1) == 2 / 6
    assert distinct([["a", "b", "a", "b"], ["a", "b"]], 2) == 2 / 4
    assert math.isnan(distinct([["a"]], 2))


def test_repetition_counts_within_a_text():
    assert repetition(["a", "b", "a", "b"], 2) == pytest.approx(1 / 3)
    assert repetition(["a", "b", "c"], 2) == 0.0
    assert repetition([], 2) == 0.0


@pytest.mark.parametrize(
    ("text", "looping"),
    [
        ("x a b a b a b", True),
        ("a b c a b c a b c", True),
        ("a b a b", False),
        ("a a a", False),  # a phrase has two tokens
        ("a a a a a a", True),
        ("a b a b a b x", False),
        ("", False),
    ],
)
def test_a_loop_is_a_phrase_three_times_at_the_end(text, looping):
    assert loops(text.split()) is looping


def test_self_bleu_of_equal_texts_is_one():
    assert self_bleu([["a", "b", "c", "d", "e"]] * 3, 4) == pytest.approx(1.0)
    assert math.isnan(self_bleu([["a", "b"]], 2))


def test_self_bleu_by_hand():
    # Each has two of three unigrams and one of two bigrams in common with the other.
    pair = [["a", "b", "c"], ["a", "b", "d"]]
    assert self_bleu(pair, 2) == pytest.approx(math.sqrt((2 / 3) * (1 / 2)))
    # Clipped: the other has one "a" only. No bigram in common: a tenth of one.
    assert self_bleu([["a", "a"], ["a", "b"]], 2) == pytest.approx(math.sqrt(0.5 * 0.1))
    # The short text pays for its brevity, exp(1 - 4 / 2); half of the long one is in the short.
    short, long = math.exp(-1.0), math.sqrt((2 / 4) * (1 / 3))
    assert self_bleu([["a", "b"], ["a", "b", "c", "d"]], 2) == pytest.approx((short + long) / 2)


def test_texts_shorter_than_the_n_grams_are_alike_too():
    assert self_bleu([["a", "b"]] * 3, 4) == pytest.approx(1.0)


def test_different_texts_have_a_low_self_bleu():
    texts = [[f"{i}{j}" for j in range(10)] for i in range(4)]
    assert self_bleu(texts, 4) < 0.02


def test_zipf_is_the_exponent_of_a_power_law():
    texts = [[str(rank)] * round(10_000 / rank**1.3) for rank in range(1, 60)]
    assert zipf(texts) == pytest.approx(1.3, abs=0.01)
    assert zipf([["a", "b", "c"]]) == pytest.approx(0.0, abs=1e-12)
    assert math.isnan(zipf([["a", "a"]]))

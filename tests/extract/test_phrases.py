"""Noun phrases, by spaCy's English model where it is installed."""

from __future__ import annotations

import pytest

from pipelines.core.errors import KaleidoError
from pipelines.extract import phrases
from pipelines.extract.phrases import NounPhrases, installed_parser


def test_phrases_say_what_and_not_how_many():
    try:
        installed_parser()
    except KaleidoError as error:
        pytest.skip(str(error))
    find = NounPhrases()
    assert find("two red dogs and a bus near the old wooden house") == [
        "red dog",
        "bus",
        "old wooden house",
    ]
    assert find("it") == []
    assert find("") == []


def test_without_a_model_the_mend_is_named(monkeypatch):
    monkeypatch.setattr(phrases, "distributions", list)
    with pytest.raises(KaleidoError) as caught:
        installed_parser()
    assert caught.value.code == "not-installed" and "--find" in caught.value.hint

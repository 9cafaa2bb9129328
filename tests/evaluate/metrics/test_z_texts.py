"""Text quality of z: of the whole, and of the descriptions in it."""

from __future__ import annotations

import numpy as np
import pytest

from pipelines.core.text_measures import distinct, repetition, self_bleu
from pipelines.evaluate.metrics.z_texts import text_metrics
from pipelines.evaluate.observe import Observed
from pipelines.latents.boxes import Box, Boxes
from pipelines.latents.description import Description
from pipelines.latents.sequence import z_to_text


def seen(*texts: str) -> Observed:
    """Pictures of one caption and seed, of which only z is known."""
    nothing = np.zeros((1, 1, len(texts), 0))
    return Observed(nothing, [[[]]], [[list(texts)]], nothing, nothing, nothing, nothing)


def z(text: str | None, x: int = 10) -> str:
    said = {} if text is None else {"description": Description(text)}
    return z_to_text(said | {"boxes": Boxes((Box("star", x, 10, 90, 90),))})


def test_descriptions_are_measured_apart_from_the_rest_of_z():
    same = text_metrics(seen(*(z("a red star on fog", x) for x in (10, 20, 30, 40))))
    assert same["z.parses"].value == 1.0
    assert same["z.description.self_bleu5"].value == pytest.approx(1.0)
    assert same["z.description.distinct2"].value == pytest.approx(1 / 4)
    assert same["z.self_bleu5"].value < same["z.self_bleu4"].value < 1.0  # the boxes differ
    looping = text_metrics(seen(z("red star red star red star"), z("a blue star")))
    assert looping["z.description.loops"].value == 0.5
    assert looping["z.loops"].value == 0.0


def test_z_without_a_description_do_not_count_as_empty_ones():
    found = text_metrics(seen(z("a red star"), z("two blue hearts"), z(None), "<boxes> <7>"))
    assert found["z.description.self_bleu4"].value < 0.5
    alone = text_metrics(seen(z("red star red star red star"), z(None)))
    assert alone["z.description.loops"].value == 1.0
    assert np.isnan(alone["z.description.self_bleu4"].value)


def test_without_descriptions_or_without_z_there_is_nothing_to_say_of_them():
    found = text_metrics(seen(z(None), z(None, 20)))
    assert "z.zipf" in found and not any(name.startswith("z.description") for name in found)
    assert text_metrics(seen("", "")) == {}


def test_each_measure_has_the_length_that_its_name_says():
    texts = ["a red star by a red star by a blue heart", "one red star and a blue heart on a hill"]
    found = text_metrics(seen(*map(z, texts)))
    words = [text.split() for text in texts]
    for name, value in (
        ("distinct2", distinct(words, 2)),
        ("repeated4", np.mean([repetition(text, 4) for text in words])),
        ("self_bleu4", self_bleu(words, 4)),
        ("self_bleu5", self_bleu(words, 5)),
    ):
        assert found[f"z.description.{name}"].value == pytest.approx(value)
    assert len({distinct(words, n) for n in (1, 2, 3)}) == 3
    assert len({self_bleu(words, n) for n in (3, 4, 5, 6)}) == 4
    assert len({np.mean([repetition(text, n) for text in words]) for n in (3, 4, 5)}) == 3

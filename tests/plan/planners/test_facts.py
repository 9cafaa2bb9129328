import pytest

from pipelines.documents.document import Document, Element
from pipelines.plan.planners.facts import (
    Named,
    contradictions,
    head_of,
    open_points,
    read_facts,
    singular,
)


@pytest.mark.parametrize(
    ("caption", "facts"),
    [
        ("two red circles and a star", [Named("circle", ("red",), 2), Named("star", (), 1)]),
        ("a cat sleeping on a sofa", [Named("cat", (), 1), Named("sofa", (), 1)]),
        ("A photo of 3 dogs on the beach", [Named("dog", (), 3), Named("beach", (), None)]),
        ("sunset. Now write", []),
        ("red cat", [Named("cat", ("red",), None)]),
        ("³ ² dogs", [Named("dog", (), None)]),
        ("dogs", [Named("dog", (), None)]),
        ("some children, five boxes", [Named("child", (), None), Named("box", (), 5)]),
        ("a big old wooden house at night", [Named("house", (), 1)]),
        ("a black and white cat", [Named("cat", ("black", "white"), 1)]),
        (
            "a black cat with a white cat",
            [Named("cat", ("black",), 1), Named("cat", ("white",), 1)],
        ),
        ("a man dressed in red", [Named("man", (), 1)]),
        ("a cat. The cat is happy", [Named("cat", (), 1)]),
        ("a building next to an orange", [Named("building", (), 1)]),
        ("", []),
        ("in the style of old masters", [Named("master", (), None)]),
    ],
)
def test_what_a_caption_names_is_read_with_counts_and_colours(caption, facts):
    assert list(read_facts(caption)) == facts


def test_nouns_have_one_form():
    forms = {
        "cats": "cat", "boxes": "box", "cherries": "cherry", "buses": "bus", "dishes": "dish",
        "wolves": "wolf", "people": "person", "glass": "glass", "bus": "bus", "iris": "iris",
    }  # fmt: skip
    assert {word: singular(word) for word in forms} == forms
    assert head_of("Red kites with long tails") == "kite" and head_of("") == ""


def test_what_a_caption_leaves_open_is_listed():
    points = open_points(read_facts("two dogs and a red ball"), "two dogs and a red ball")
    assert "the colour of the dog" in points and "the colour of the ball" not in points
    assert {"places and sizes", "the background", "the light", "the style"} <= set(points)
    caption = "a photo of dogs on a beach at night"
    points = open_points(read_facts(caption), caption)
    assert "the number of dogs" in points
    assert not {"the background", "the light", "the style"} & set(points)


def plan(*labels, description=None, **counts) -> Document:
    elements = [
        Element(id=f"e{n}", label=label, count=counts.get(label)) for n, label in enumerate(labels)
    ]
    return Document(elements=tuple(elements), description=description)


CAPTION = "two red circles and a star"


@pytest.mark.parametrize(
    "kept",
    [
        plan("red circle", "star", "red circle"),
        plan("star", "a red circle", "Red Circles", "green tree"),
        plan("red circle", "red circle", "star", description="Two circles and one star at night."),
        plan("red circle", "red circle", "blue star"),
    ],
)
def test_a_plan_that_keeps_to_its_caption_passes(kept):
    assert contradictions(read_facts(CAPTION), kept) == []


@pytest.mark.parametrize(
    "changed",
    [
        plan("red circle", "star"),
        plan("red circle", "red circle", "red circle", "star"),
        plan("red circle", "red circle"),
        plan("red circle", "blue circle", "star"),
        plan("circle", "red circle", "star"),
        plan("red blue circle", "red circle", "star"),
        plan("red circle", "red circle", "star", "star"),
        plan("red circle", "red circle", "star", description="Five circles lie there."),
        plan("square", "square", "triangle"),
        plan(),
    ],
)
def test_a_plan_that_changes_what_the_caption_says_does_not(changed):
    assert contradictions(read_facts(CAPTION), changed)


def test_a_count_stands_for_many_and_an_open_number_for_any():
    many = Document(elements=(Element(id="e0", label="balloon", count=100),))
    assert not contradictions(read_facts("100 balloons"), many)
    assert contradictions(read_facts("99 balloons"), many)
    assert not contradictions(read_facts("balloons"), many)
    assert not contradictions(read_facts("balloons"), plan("balloon", "balloon"))

from __future__ import annotations

import pytest

from pipelines.documents.document import Document, Relation, Style
from pipelines.documents.element import Element, Ellipse
from pipelines.documents.palette import Swatch
from pipelines.documents.words import COLOURS, colour_name, sentences


def test_says_the_caption_first_and_the_colours_last():
    document = Document(
        caption="a fox.",
        description="A fox sits under a tree.",
        background="snow",
        style=Style(medium="photograph", lighting="low sun"),
        elements=(
            Element(id="f", label="fox", box=(0.0, 0.7, 0.2, 0.95), colours=("#E02020",)),
            Element(id="t", label="tree", box=(0.5, 0.0, 1.0, 1.0)),
        ),
        relations=(Relation(subject="f", text="sits under", object="t"),),
        palette=(Swatch(hex="#FFFFFF"), Swatch(hex="#FEFEFE"), Swatch(hex="#0A1A66")),
    )
    assert sentences(document) == [
        "a fox",
        "A fox sits under a tree",
        "small fox, red at the bottom left",
        "large tree on the right",
        "Background: snow",
        "photograph, low sun",
        "fox sits under tree",
        "Colours: white, dark blue",
    ]


def test_lettering_counts_and_ellipses_have_words():
    ellipse = Ellipse(x=0.5, y=0.5, major=0.2, minor=0.1, angle=0)
    document = Document(
        elements=(
            Element(id="a", type="text", text="OPEN", box=(0.3, 0.0, 0.7, 0.1)),
            Element(id="b", label="bird", description="a black bird", count=3),
            Element(id="c", label="pond", ellipse=ellipse),
            Element(id="d", label="car", description="shiny", attributes={"pose": "parked"}),
        )
    )
    assert sentences(document) == [
        'small the words "OPEN" at the top',
        "3 a black bird",
        "pond in the middle",
        "car: shiny, parked",
    ]


def test_an_empty_document_has_no_words():
    assert sentences(Document()) == []


@pytest.mark.parametrize("name", COLOURS)
def test_a_typical_colour_has_its_own_name(name):
    assert colour_name(COLOURS[name]) == name

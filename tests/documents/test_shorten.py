"""Shorter versions of a document."""

from __future__ import annotations

from pipelines.documents.document import Document, Relation, Style, Swatch
from pipelines.documents.element import Element
from pipelines.documents.shorten import shortened

BOX = (0.0, 0.0, 0.5, 0.5)
WHOLE = Document(
    caption="a fox",
    description="A fox in snow.",
    background="hills",
    style=Style(medium="photograph"),
    elements=(
        Element(id="a", label="fox", description="red", box=BOX, colours=("#FF0000",)),
        Element(id="b", description="a low sun", box=BOX),
    ),
    palette=(Swatch(hex="#9CC9F5"),),
    relations=(Relation(subject="a", text="under", object="b"),),
)


def test_the_least_important_parts_go_first_and_the_caption_stays():
    steps = list(shortened(WHOLE))
    assert [path for path, _ in steps] == [
        "elements[0].colours",
        "palette",
        "relations",
        "style",
        "background",
        "elements[0].description",
        "elements[1]",
        "elements[0]",
        "description",
    ]
    for _, document in steps:
        assert Document.model_validate_json(document.to_json()) == document
    last = steps[-1][1]
    assert last == Document(caption="a fox", elements=())
    assert steps[5][1].elements[0] == Element(id="a", label="fox", box=BOX)

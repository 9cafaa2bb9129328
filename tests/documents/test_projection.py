import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.documents.document import Document, Image
from pipelines.documents.element import Element, Ellipse
from pipelines.documents.palette import Swatch
from pipelines.documents.part import MAX_TEXT
from pipelines.documents.projection import document_of, label_of, z_of
from pipelines.documents.reading import check_document, read_document
from pipelines.latents.blobs import Blob, Blobs
from pipelines.latents.boxes import Box, Boxes
from pipelines.latents.colours import Colours, ElementColours
from pipelines.latents.description import Description
from pipelines.latents.palette import Colour, Palette, whole_weights
from pipelines.latents.sequence import z_to_text
from pipelines.latents.tokens import Tokens

KINDS = ("description", "boxes", "blobs", "colours", "tokens", "palette")

number = st.integers(0, 1000)
labels = st.sampled_from(["kite", "hill", "old tree"])
box = st.tuples(labels, st.integers(0, 999), st.integers(0, 999), number, number).map(
    lambda v: Box(v[0], v[1], v[2], max(v[1] + 1, v[3]), max(v[2] + 1, v[4]))
)
blob = st.tuples(labels, number, number, st.integers(1, 1000), st.integers(1, 1000), number).map(
    lambda v: Blob(v[0], v[1], v[2], max(v[3:5]), min(v[3:5]), v[5] % 180)
)
level = st.sampled_from([0, 7, 255])
coloured = st.tuples(labels, *[level] * 6).map(lambda row: ElementColours(*row))


@st.composite
def palettes(draw):
    weights = sorted(whole_weights(draw(st.lists(st.integers(1, 99), min_size=1, max_size=8))))
    colours = [Colour(*draw(st.tuples(number, number, number)), w) for w in reversed(weights)]
    return Palette(tuple(colours))


z_values = st.fixed_dictionaries(
    {},
    optional={
        "description": st.text(st.sampled_from("ab c,"), max_size=30)
        .map(str.strip)
        .filter(bool)
        .map(Description),
        "boxes": st.lists(box, min_size=1, max_size=15).map(lambda rows: Boxes(tuple(rows))),
        "blobs": st.lists(blob, min_size=1, max_size=15).map(lambda rows: Blobs(tuple(rows))),
        "colours": st.lists(coloured, min_size=1, max_size=15).map(lambda r: Colours(tuple(r))),
        "tokens": st.just(Tokens(2, 2, 512, (1, 511, 0, 7))),
        "palette": palettes(),
    },
)


@given(z_values)
def test_every_z_comes_back_from_its_stored_document(z):
    z = {kind: z[kind] for kind in KINDS if kind in z}
    document = read_document(document_of(z, "a kite", (64, 64)).to_json())
    back, lost = z_of(document, KINDS)
    assert z_to_text(back) == z_to_text(z)
    assert {loss.field for loss in lost} <= {"place"}


def test_a_box_and_a_blob_of_one_object_are_one_element():
    z = {
        "boxes": Boxes((Box("kite", 100, 100, 300, 300), Box("hill", 0, 500, 1000, 1000))),
        "blobs": Blobs((Blob("kite", 200, 200, 90, 80, 0), Blob("kite", 900, 900, 9, 8, 0))),
    }
    first, second, third = document_of(z).elements
    assert first.box == (0.1, 0.1, 0.3, 0.3) and first.ellipse.x == 0.2
    assert {second.label, third.label} == {"hill", "kite"}
    assert (second.box is None) != (third.box is None)


def test_colours_join_the_elements_of_their_labels():
    z = {
        "boxes": Boxes((Box("kite", 100, 100, 300, 300), Box("hill", 0, 500, 1000, 1000))),
        "colours": Colours(
            (ElementColours.from_hex("kite", "#ff0000"), ElementColours.from_hex("sun", "#ffff00"))
        ),
    }
    kite, *others = document_of(z).elements
    assert kite.box is not None and kite.colours == ("#FF0000",)
    assert {(e.label, e.box is None, e.colours) for e in others} == {
        ("hill", False, None),
        ("sun", True, ("#FFFF00",)),
    }


def test_colours_of_an_annotation_take_the_order_and_the_choice_of_its_boxes():
    rows = [
        Element(id=f"e{i}", label=label, box=(0, 0, size, size), colours=("#000000", "#0000FF"))
        for i, (label, size) in enumerate([("kite", 0.1), ("hill", 1.0), *[("dot", 0.5)] * 15])
    ]
    rows[5] = rows[5].model_copy(update={"colours": None})
    rows[3] = rows[3].model_copy(update={"colours": ("#FF0000", "#00FF00", "#0000FF")})
    z, lost = z_of(annotated(elements=tuple(rows)), ("boxes", "colours"))
    assert [b.label for b in z["boxes"].items] == ["hill", *["dot"] * 14], "the kite is smallest"
    assert [c.label for c in z["colours"].items] == ["hill", *["dot"] * 13]
    assert z["colours"].items[1].hexes == ("#FF0000", "#00FF00")
    assert {loss.field for loss in lost} == {"number", "colours"}
    assert "colours" not in z_of(annotated(elements=tuple(rows[5:6])), ("colours",))[0]


@pytest.mark.parametrize(
    ("text", "label"),
    [
        ("Red diamond-shaped paper kite with a long tail.", "kite"),
        ("Rounded grassy hill.", "hill"),
        ("An old woman, smiling", "woman"),
        ("with nothing before", "before"),
    ],
)
def test_a_label_is_the_head_of_the_description(text, label):
    assert label_of(Element(id="e", description=text)) == label
    assert label_of(Element(id="e", description=text, label="thing")) == "thing"


def annotated(**values):
    return Document(**({"caption": "a hill and a kite"} | values))


def test_items_of_an_annotation_take_the_canonical_order_of_the_caption():
    rows = [
        Element(id="a", label="kite", box=(0, 0, 0.1, 0.1)),
        Element(id="b", label="hill", box=(0.5, 0.5, 1, 1)),
        Element(id="c", label="sun", box=(0.2, 0, 0.3, 0.1)),
    ]
    z, lost = z_of(annotated(elements=tuple(rows)), KINDS)
    assert [b.label for b in z["boxes"].items] == ["hill", "kite", "sun"] and not lost


def test_what_the_kinds_cannot_hold_is_listed():
    many = tuple(Element(id=f"e{i}", label="dot", box=(0, 0, (i + 1) / 20, 0.5)) for i in range(20))
    wide = Ellipse(x=0.5, y=0.5, major=0.2, minor=0.1, angle=0)
    z, lost = z_of(
        annotated(
            image=Image(width=20, height=10),
            description="word " * 400,
            elements=(*many, Element(id="p", label="wind", ellipse=wide)),
            palette=tuple(Swatch(hex=f"#0000{i:02X}") for i in range(16)),
        ),
        KINDS,
    )
    assert {loss.field for loss in lost} == {"length", "number", "place", "weights"}
    assert len(z["boxes"].items) == 15 and min(b.x2 for b in z["boxes"].items) == 300
    assert len(z["palette"].items) == 8
    (blob,) = z["blobs"].items  # in a picture twice as wide as high, 0.1 of the width is 0.2 down
    assert (blob.r_major, blob.r_minor) == (200, 200)
    again = document_of(z, shape=(10, 20)).elements[-1].ellipse
    assert (again.major, again.minor) == pytest.approx((0.2, 0.1))
    assert z["description"].text.endswith("word")


def test_a_kind_of_which_nothing_is_known_is_left_out():
    assert z_of(Document(), KINDS) == ({}, [])


def test_a_caption_longer_than_a_documents_text_is_cut():
    document = document_of({}, "a" * (MAX_TEXT + 1))
    assert document.caption == "a" * MAX_TEXT
    assert check_document(document.to_json())[0] == document

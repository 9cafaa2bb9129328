"""Canonical files come back byte for byte; what a pair of formats cannot carry is listed."""

import json
from itertools import product
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.documents.dialects.base import Context, WritableDialect
from pipelines.documents.dialects.registry import DIALECTS
from pipelines.documents.document import Document, Image, Style
from pipelines.documents.element import Element, Mask
from pipelines.documents.palette import Swatch

FOLDER = Path(__file__).parent
IDEOGRAM, FIBO, BBOX, COCO = (
    (FOLDER / name).read_text("utf-8").strip()
    for name in ("kite.ideogram4.json", "kite.fibo.json", "kite.bbox", "kite.coco.json")
)


def read(name: str, text: str, **context) -> Document:
    found = DIALECTS[name].read(text.encode(), Context(**{"name": "a.json"} | context))
    assert not [p for p in found.problems if p.severity == "error"], found.problems
    return found.documents[0]


def write(name: str, document: Document) -> str:
    form = DIALECTS[name]
    assert isinstance(form, WritableDialect)
    return next(iter(form.write([document]).files.values()))


@pytest.mark.parametrize(
    ("name", "text"), [("ideogram4", IDEOGRAM), ("fibo", FIBO), ("bbox", BBOX), ("coco", COCO)]
)
def test_a_canonical_file_comes_back_byte_for_byte(name, text):
    document = read(name, text)
    assert write(name, document) == text
    again = read("kaleido.z", document.to_json())
    assert write(name, again) == text, "also by way of the stored document"


def test_the_order_of_axes_is_the_formats():
    for document in (read("ideogram4", IDEOGRAM), read("bbox", BBOX)):
        kite = document.elements[1]
        assert kite.box == (0.56, 0.12, 0.76, 0.39)
    assert read("coco", COCO).elements[0].box == (0, 0.6, 1, 1)
    yolo = read("yolo", "0 0.66 0.255 0.2 0.27\n", names={0: "kite"})
    assert yolo.elements[0].box == pytest.approx((0.56, 0.12, 0.76, 0.39))


def test_rows_of_all_three_yolo_tasks_come_back():
    for name, text in (
        ("yolo", "0 0.5 0.8 1 0.4\n1 0.66 0.255 0.2 0.27\n"),
        ("yolo-segment", "0 0 1 0.5 0.6 1 1\n"),
        ("yolo-obb", "0 0.1 0.1 0.3 0.2 0.25 0.4 0.05 0.3\n"),
    ):
        assert write(name, read(name, text)) == text
    nine = "0 0.1 0.1 0.3 0.2 0.25 0.4 0.05 0.3\n"
    assert read("yolo-segment", nine).elements[0].mask == read("yolo-obb", nine).elements[0].mask
    assert DIALECTS["yolo"].read(nine.encode(), Context()).problems[0].code == "row"


def test_voc_counts_from_zero_or_as_the_original_from_one():
    size = Image(width=100, height=50)
    whole = Document(
        key="a", image=size, elements=(Element(id="e0", label="all", box=(0, 0, 1, 1)),)
    )
    assert "<xmin>0</xmin>" in write("voc", whole) and "<xmin>1</xmin>" in write(
        "voc-original", whole
    )
    for name in ("voc", "voc-original"):
        assert read(name, write(name, whole)).elements[0].box == (0, 0, 1, 1)


def test_labelme_keeps_polygons_and_descriptions():
    document = Document(
        key="a",
        image=Image(width=200, height=100),
        elements=(
            Element(id="e0", label="hat", description="red", box=(0.1, 0.1, 0.5, 0.5)),
            Element(
                id="e1",
                label="leaf",
                box=(0.2, 0.2, 0.4, 0.6),
                mask=Mask(polygons=((0.2, 0.2, 0.4, 0.2, 0.3, 0.6),)),
            ),
        ),
    )
    back = read("labelme", write("labelme", document))
    assert [e.label for e in back.elements] == ["hat", "leaf"]
    assert back.elements[0].description == "red" and back.elements[0].box == (0.1, 0.1, 0.5, 0.5)
    assert back.elements[1].mask.polygons[0] == pytest.approx((0.2, 0.2, 0.4, 0.2, 0.3, 0.6))


def test_prose_has_boxes_and_ellipses_whose_radii_are_put_in_order():
    text = "A hill (0, 600, 1000, 1000) under a red kite (660, 255, 90, 110, 10)"
    text += " and the sun (1, 2, 3, 4)"
    hill, kite, sun = read("prose", text).elements
    assert (hill.label, hill.box) == ("hill", (0, 0.6, 1, 1))
    assert kite.label == "red kite" and sun.label == "sun"
    assert (kite.ellipse.major, kite.ellipse.minor, kite.ellipse.angle) == (0.11, 0.09, 100)


WRITABLE = [name for name, form in DIALECTS.items() if isinstance(form, WritableDialect)]
words = st.text(st.sampled_from("abc äé"), min_size=1, max_size=8).map(str.strip).filter(bool)
grid = st.integers(0, 999)
box = st.tuples(grid, grid, st.integers(1, 1000), st.integers(1, 1000)).map(
    lambda b: (b[0] / 1000, b[1] / 1000, max(b[0] + 1, b[2]) / 1000, max(b[1] + 1, b[3]) / 1000)
)
element = st.builds(
    Element,
    id=st.just("e"),
    label=words,
    description=st.none() | words,
    box=st.none() | box,
    colours=st.none() | st.just(("#FF0000",)),
    score=st.none() | st.just(0.5),
)
document = st.builds(
    Document,
    key=st.just("a"),
    image=st.just(Image(width=1000, height=1000)),
    description=st.none() | words,
    background=st.none() | words,
    style=st.none()
    | st.builds(Style, medium=words, branch=st.sampled_from(["photo", "art"]), text=words),
    palette=st.none() | st.just((Swatch(hex="#FF0000", weight=1000),)),
    elements=st.lists(element, max_size=4).map(
        lambda rows: tuple(r.model_copy(update={"id": f"e{i}"}) for i, r in enumerate(rows))
    ),
)


@given(document, st.sampled_from(list(product(WRITABLE, WRITABLE))))
def test_what_a_pair_of_formats_does_not_carry_is_listed(given_document, pair):
    first, second = pair
    lost = set()
    current = given_document
    for name in (first, second):
        written = DIALECTS[name].write([current])
        lost |= {loss.field for losses in written.lost.values() for loss in losses}
        text = next(text for file, text in written.files.items() if file != "data.yaml")
        names = {}
        if "data.yaml" in written.files:
            rows = [line.strip() for line in written.files["data.yaml"].splitlines()[1:]]
            names = {int(r.split(": ", 1)[0]): json.loads(r.split(": ", 1)[1]) for r in rows}
        found = DIALECTS[name].read(text.encode(), Context(name="a.x", names=names))
        if not found.documents:
            assert name == "prose" and "(" not in text, found.problems
            return
        # The picture itself says its size to the formats that do not.
        current = found.documents[0].model_copy(update={"image": given_document.image})
    for field in ("description", "background", "palette"):
        if getattr(given_document, field) and not getattr(current, field):
            assert field in lost or f"{field}s" in lost, (pair, field)
    if len(current.elements or ()) < len(given_document.elements):
        assert lost & {"place", "image"}, pair
    else:
        for before, after in zip(given_document.elements, current.elements, strict=True):
            if before.box and not after.box:
                assert "box" in lost, pair
            elif before.box and "place" not in lost:
                assert after.box == pytest.approx(before.box, abs=2e-3)
            for name in ("colours", "score"):
                if getattr(before, name) and not getattr(after, name):
                    assert name in lost, (pair, name)
            if before.description and not after.description:
                assert lost & {"description", "label"}, pair


def test_values_of_other_formats_are_listed_as_lost():
    extra = {"coco": {"id": 7}, "fibo": {"context": "a calendar"}, "mine": 1}
    element = Element(id="e0", label="kite", box=(0, 0, 1, 1), extra={"mine": 2})
    size = Image(width=10, height=10)
    document = Document(key="a", image=size, elements=(element,), extra=extra)
    for name, kept in (("coco", "coco"), ("fibo", "fibo")):
        lost = DIALECTS[name].write([document]).lost["a"]
        paths = {loss.path for loss in lost if loss.field == "extra"}
        others = {f"extra.{other}" for other in extra if other != kept}
        assert paths == {*others, "elements[0].extra.mine"}

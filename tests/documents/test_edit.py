import pytest

from pipelines.core.errors import KaleidoError
from pipelines.documents.document import Document, Relation
from pipelines.documents.edit import add, describe, find, move, recolour, remove, resize, rotate
from pipelines.documents.element import Element, Ellipse
from pipelines.documents.palette import Swatch
from pipelines.documents.projection import z_of

DOCUMENT = Document(
    description="A star and two circles.",
    elements=(
        Element(
            id="e0",
            label="star",
            box=(0.2, 0.2, 0.4, 0.6),
            ellipse=Ellipse(x=0.3, y=0.4, major=0.2, minor=0.1, angle=90),
        ),
        Element(id="e1", label="circle", box=(0.5, 0.5, 0.7, 0.7)),
        Element(id="e2", label="circle", box=(0.8, 0.1, 0.9, 0.2)),
    ),
    relations=(Relation(subject="e1", text="under", object="e0"),),
    palette=(Swatch(hex="#F0F0F0", weight=900), Swatch(hex="#E02020", weight=100)),
)


def box(document, name):
    return pytest.approx(find(document, name).box)


def test_what_moves_moves_with_its_ellipse_and_stops_at_the_edge():
    moved = move(DOCUMENT, "star", 100, -100)
    assert box(moved, "star") == (0.3, 0.1, 0.5, 0.5)
    assert (find(moved, "star").ellipse.x, find(moved, "star").ellipse.y) == pytest.approx(
        (0.4, 0.3)
    )
    assert moved.elements[1:] == DOCUMENT.elements[1:] and moved.palette == DOCUMENT.palette
    far = move(DOCUMENT, "star", 5000, 0)
    assert box(far, "star") == (0.8, 0.2, 1.0, 0.6) and find(
        far, "star"
    ).ellipse.x == pytest.approx(0.9)


def test_resizing_keeps_the_centre():
    smaller = find(resize(DOCUMENT, "star", 0.5), "star")
    assert smaller.box == pytest.approx((0.25, 0.3, 0.35, 0.5))
    assert (smaller.ellipse.major, smaller.ellipse.minor) == (0.1, 0.05)
    assert box(resize(DOCUMENT, "e2", 4), "e2") == (0.65, 0, 1, 0.35), "cut off at the edge"


def test_rotating_turns_ellipses_clockwise_within_half_a_turn():
    assert find(rotate(DOCUMENT, "star", 100), "star").ellipse.angle == 10
    with pytest.raises(KaleidoError) as caught:
        rotate(DOCUMENT, "e1", 10)
    assert caught.value.code == "bad-option"


def test_removing_takes_relations_along():
    left = remove(DOCUMENT, "star")
    assert [e.id for e in left.elements] == ["e1", "e2"] and left.relations is None


def test_what_is_added_is_in_every_kind_of_z():
    added = add(remove(DOCUMENT, "e1"), "heart (100, 200, 300, 600)")
    new = added.elements[-1]
    assert (new.id, new.label, new.box) == ("e1", "heart", (0.1, 0.2, 0.3, 0.6))
    shape = new.ellipse
    assert (shape.major, shape.minor, shape.angle) == pytest.approx((0.2, 0.1, 90))
    z, _ = z_of(added, ("boxes", "blobs"))
    assert all("heart" in [item.label for item in latent.items] for latent in z.values())


def test_recolouring_changes_the_palettes_nearest_colour():
    blue = recolour(DOCUMENT, "star", "#2050d0", present="#D01010")
    assert find(blue, "star").colours == ("#2050D0",)
    assert [s.hex for s in blue.palette] == ["#F0F0F0", "#2050D0"] and blue.palette[1].weight == 100
    unknown = recolour(DOCUMENT, "star", "#2050d0")
    assert unknown.palette == DOCUMENT.palette, "which of its colours the star has is not known"


def test_recolouring_changes_the_word_beside_the_label():
    words = "A red circle, a red star and a blue sky."
    document = DOCUMENT.model_copy(update={"description": words})
    blue = recolour(document, "star", "#2050d0", present="#D02818")
    assert blue.description == "A red circle, a blue star and a blue sky."
    green = recolour(document, "star", "#30A030", present="#30A0E0")
    assert green.description == "A red circle, a green star and a blue sky.", "whatever is seen"
    other = DOCUMENT.model_copy(update={"description": "A star, red or blue."})
    blue = recolour(other, "star", "#30A030", present="#30A0E0").description
    assert blue == "A star, red or blue.", (
        "no word is in the clause, and whose they are is not clear"
    )
    twins = DOCUMENT.model_copy(update={"description": "A red circle, a blue circle."})
    assert (
        recolour(twins, "e1", "#30A030", "#2858D8").description == "A red circle, a green circle."
    )
    assert recolour(twins, "e1", "#30A030", "#808000").description == twins.description


def test_recolouring_follows_the_place_where_labels_are_mixed_up():
    words = "A red circle at the top left; a blue star at the bottom right."
    elements = (DOCUMENT.elements[0].model_copy(update={"box": (0.1, 0.1, 0.3, 0.3)}),)
    elements += (DOCUMENT.elements[1].model_copy(update={"box": (0.7, 0.7, 0.9, 0.9)}),)
    document = DOCUMENT.model_copy(
        update={"description": words, "elements": elements, "relations": None}
    )
    green = recolour(document, "star", "#30A030", "#E02020").description
    assert green == "A green circle at the top left; a blue star at the bottom right."
    low = move(document, "star", 0, 600).description
    assert low == "A red circle at the bottom left; a blue star at the bottom right."


def test_describing():
    assert describe(DOCUMENT, "Night.").description == "Night."


@pytest.mark.parametrize(
    "change",
    [
        lambda: move(DOCUMENT, "circle", 1, 1),
        lambda: move(DOCUMENT, "square", 1, 1),
        lambda: resize(DOCUMENT, "star", 0),
        lambda: resize(DOCUMENT, "star", float("nan")),
        lambda: resize(DOCUMENT, "star", 1e-9),
        lambda: add(DOCUMENT, "heart"),
        lambda: add(DOCUMENT, "heart (1, 2, 3)"),
        lambda: add(DOCUMENT, "heart (300, 2, 200, 4)"),
        lambda: add(DOCUMENT, "heart (0, 0, 1001, 4)"),
        lambda: recolour(DOCUMENT, "star", "blue"),
    ],
)
def test_what_cannot_be_changed_is_an_error(change):
    with pytest.raises(KaleidoError) as caught:
        change()
    assert caught.value.code == "bad-option"


def test_of_several_with_one_label_the_ids_are_offered():
    with pytest.raises(KaleidoError) as caught:
        find(DOCUMENT, "circle")
    assert "e1, e2" in caught.value.hint


HOSTILE = (
    (move, ("star", 10**400, 0)),
    (move, ("star", 0, -(10**30))),
    (rotate, ("star", float("nan"))),
    (rotate, ("star", float("inf"))),
    (resize, ("star", float("nan"))),
    (resize, ("star", 1e-300)),
    (add, (f"circle ({'9' * 5000}, 0, 100, 100)",)),
    (add, ("circle (\u00b2, 0, 100, 100)",)),
    (add, (f"{'x' * 5000} (0, 0, 100, 100)",)),
)


@pytest.mark.parametrize(("change", "arguments"), HOSTILE)
def test_numbers_and_texts_beyond_reason_are_errors(change, arguments):
    with pytest.raises(KaleidoError) as caught:
        change(DOCUMENT, *arguments)
    assert caught.value.code == "bad-option"


SCENE = (
    "Three shapes on slate: a small red striped circle at the middle centre; a large blue plain "
    "circle at the top right; at the middle left a medium teal plain star; arranged as row."
)


def scene(text=SCENE):
    """A star at the middle left, a circle in the centre and one at the top right."""
    return DOCUMENT.model_copy(update={"description": text})


def said(document, before=SCENE):
    """Return what changed in the description: (old words, new words)."""
    old, new = before.split(), document.description.split()
    assert len(old) == len(new)
    return [(a, b) for a, b in zip(old, new, strict=True) if a != b]


@pytest.mark.parametrize(
    ("name", "factor", "changes"),
    [
        ("star", 1.5, [("medium", "large")]),
        ("star", 0.65, [("medium", "small")]),
        ("star", 1.05, []),
        ("e1", 1.25, [("small", "medium")]),
        ("e1", 1.5, [("small", "large")]),
        ("e1", 0.65, []),
        ("e2", 0.65, [("large", "small")]),
        ("e2", 3, []),
    ],
)
def test_resizing_restates_the_size_of_this_element_alone(name, factor, changes):
    assert said(resize(scene(), name, factor)) == changes


@pytest.mark.parametrize(
    ("name", "dx", "dy", "changes"),
    [
        ("star", 300, 0, [("left", "centre")]),
        ("star", 600, 300, [("middle", "bottom"), ("left", "right")]),
        ("star", 10, 0, []),
        ("e1", -300, -300, [("middle", "top"), ("centre;", "left;")]),
        ("e2", -400, 300, [("top", "middle"), ("right;", "centre;")]),
    ],
)
def test_moving_restates_the_place_of_this_element_alone(name, dx, dy, changes):
    assert said(move(scene(), name, dx, dy)) == changes


@pytest.mark.parametrize(
    ("name", "present", "changes"),
    [
        ("star", "#209898", [("teal", "green")]),
        ("e1", "#D82828", [("red", "green")]),
        ("e2", "#2858D8", [("blue", "green")]),
        ("e2", "#D82828", [("blue", "green")]),
    ],
)
def test_recolouring_restates_the_colour_of_this_element_alone(name, present, changes):
    assert said(recolour(scene(), name, "#30A040", present)) == changes


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("A tiny star in the lower left corner.", "A large star in the upper right corner."),
        ("A little star on the left, a sun.", "A large star on the right, a sun."),
        ("A big star at the bottom", "A big star at the top"),
        ("A star in the lower-left, a big sun", "A star in the upper-right, a big sun"),
        ("A star and a big sun on the left.", "A star and a big sun on the left."),
        ("A small star, a small star.", "A small star, a small star."),
        ("A starry sky, small.", "A starry sky, small."),
    ],
)
def test_words_of_other_texts_change_where_it_is_clear_whose_they_are(before, after):
    document = DOCUMENT.model_copy(
        update={
            "description": before,
            "elements": (Element(id="e0", label="star", box=(0.1, 0.7, 0.3, 0.9)),),
        }
    )
    assert resize(move(document, "star", 600, -600), "star", 1.5).description == after


def test_a_description_without_words_for_it_and_an_element_without_a_label_stay():
    bare = DOCUMENT.model_copy(
        update={"elements": (Element(id="e0", text="star", type="text", box=(0.1, 0.1, 0.3, 0.3)),)}
    )
    assert move(bare, "e0", 600, 600).description == DOCUMENT.description
    assert resize(DOCUMENT, "star", 1.5).description == DOCUMENT.description

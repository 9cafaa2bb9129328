import numpy as np
import pytest

from pipelines.latents.blobs import Blob, Blobs
from pipelines.latents.boxes import Box, Boxes
from pipelines.latents.colours import Colours, ElementColours
from pipelines.latents.description import Description
from pipelines.latents.palette import Colour, Palette
from pipelines.latents.tokens import Tokens
from pipelines.plan.similarity import similarity


def boxes(*rows):
    return Boxes(tuple(Box(*row) for row in rows))


def palette(*colours):
    return Palette.from_oklab(
        np.array([Colour.from_hex(c, 1).oklab for c in colours]), [1] * len(colours)
    )


LEFT, RIGHT = ("kite", 0, 0, 250, 250), ("kite", 750, 750, 1000, 1000)


def test_places_labels_and_counts_tell_layouts_apart():
    kernel = similarity(
        [
            {"boxes": b}
            for b in (
                boxes(LEFT),
                boxes(LEFT),
                boxes(RIGHT),
                boxes(LEFT, RIGHT),
                boxes(("hat", *LEFT[1:])),
            )
        ]
    )
    assert kernel[0, 1] == 1.0
    assert kernel[0, 2] == 0.0, "as many of the same label, elsewhere"
    assert kernel[0, 3] == pytest.approx(1 / 2), "half of what is covered"
    assert kernel[0, 4] == pytest.approx(1 / 3), "the same place, and another label"
    assert np.linalg.eigvalsh(kernel).min() > -1e-9


def test_a_box_counts_in_each_cell_by_its_share():
    half = boxes(("kite", 0, 0, 63, 125))
    kernel = similarity([{"boxes": boxes(("kite", 0, 0, 125, 250))}, {"boxes": half}])
    assert kernel[0, 1] == pytest.approx(0.504 / 2, abs=1e-3), "one cell by half, of two"


def test_blobs_count_where_there_are_no_boxes():
    z = [{"boxes": boxes(LEFT)}, {"boxes": boxes(RIGHT)}]
    blobs = [{"blobs": Blobs((Blob("kite", 120, 120, 100, 90, 0),))}] * 2
    assert similarity(blobs)[0, 1] == 1.0
    both = [one | two for one, two in zip(z, blobs, strict=True)]
    assert similarity(both).tolist() == similarity(z).tolist()


def test_the_background_counts_beside_the_palette():
    def of(*hexes, weights):
        rows = np.array([Colour.from_hex(c, 1).oklab for c in hexes])
        return {"palette": Palette.from_oklab(rows, weights)}

    grounds = [of("#f8f8f8", "#101010", weights=w) for w in ((9, 1), (8, 2), (1, 9))]
    kernel = similarity(grounds)
    assert kernel[0, 1] > 0.97 and kernel[0, 2] < 0.5, "light on dark is not dark on light"


def test_near_colours_are_more_alike_than_far_ones():
    red, orange, blue = (
        {"palette": palette(c, "#ffffff")} for c in ("#e02020", "#e04020", "#2020e0")
    )
    kernel = similarity([red, orange, blue])
    assert 0.95 < kernel[0, 1] < 1.0 and kernel[0, 2] < 0.8


def test_the_same_colours_on_other_elements_are_another_plan():
    def coloured(*rows):
        return {"colours": Colours(tuple(ElementColours.from_hex(*row) for row in rows))}

    red, blue, orange = "#e02020", "#2020e0", "#e04020"
    kernel = similarity(
        [
            coloured(("kite", red), ("sun", blue)),
            coloured(("kite", blue), ("sun", red)),
            coloured(("kite", orange), ("sun", blue)),
            coloured(("tree", red)),
        ]
    )
    assert kernel[0, 1] < 0.3 and kernel[0, 2] > 0.9 and kernel[0, 3] == 0
    assert np.diag(kernel) == pytest.approx(np.ones(4))
    assert np.linalg.eigvalsh(kernel).min() > -1e-9


def test_words_and_tokens():
    a = {"description": Description("A red kite"), "tokens": Tokens(1, 4, 10, (1, 2, 3, 4))}
    b = {"description": Description("a red hill"), "tokens": Tokens(1, 4, 10, (1, 2, 9, 9))}
    assert similarity([a, b])[0, 1] == pytest.approx((2 / 3 + 1 / 2) / 2)


def test_only_kinds_that_all_have_are_compared():
    assert similarity([{"boxes": boxes(LEFT)}, {}]).tolist() == [[1, 1], [1, 1]]

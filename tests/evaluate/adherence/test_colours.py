import numpy as np
import pytest

from pipelines.evaluate.adherence.colours import colour_fits
from pipelines.latents.blobs import Blob, Blobs
from pipelines.latents.boxes import Box, Boxes
from pipelines.latents.colours import Colours, ElementColours
from pipelines.latents.oklab import hex_to_oklab
from pipelines.latents.sequence import z_to_text

RED, BLUE = "#ff0000", "#0000ff"
APART = np.linalg.norm(hex_to_oklab(RED) - hex_to_oklab(BLUE))


def z_of(left, right, kind="boxes"):
    """A z with a tile at the left and another at the right."""
    places = {
        "boxes": Boxes((Box("tile", 0, 0, 500, 1000), Box("tile", 500, 0, 1000, 1000))),
        "blobs": Blobs((Blob("tile", 250, 500, 240, 240, 0), Blob("tile", 750, 500, 240, 240, 0))),
    }
    colours = Colours(tuple(ElementColours.from_hex("tile", colour) for colour in (left, right)))
    return z_to_text(({kind: places[kind]} if kind else {}) | {"colours": colours})


def picture():
    """Red at the left, blue at the right."""
    image = np.zeros((32, 32, 3), np.uint8)
    image[:, :16, 0] = image[:, 16:, 2] = 255
    return image


@pytest.mark.parametrize("kind", ["boxes", "blobs"])
def test_a_red_and_a_blue_tile_are_not_a_blue_and_a_red_one(kind):
    texts = [z_of(RED, BLUE, kind), z_of(BLUE, RED, kind), z_of(RED, RED, kind)]
    fits = colour_fits(texts, np.stack([picture()] * 3), ())
    assert fits[:, 0] == pytest.approx([0, APART, APART / 2], abs=0.005)
    assert fits[:, 1] == pytest.approx([APART, APART / 2, 0], abs=0.005), "those of the next sample"
    assert np.isnan(fits[:, 2]).all()


def test_another_caption_is_a_control():
    fits = colour_fits([z_of(RED, BLUE)], picture()[None], [z_of(BLUE, RED)])
    assert fits[0, [0, 2]] == pytest.approx([0, APART], abs=0.005) and np.isnan(fits[0, 1])


def test_colours_without_a_place_and_other_z_have_no_fit():
    boxes = z_to_text({"boxes": Boxes((Box("tile", 0, 0, 500, 1000),))})
    texts = [z_of(RED, BLUE, None), boxes, ""]
    assert np.isnan(colour_fits(texts, np.stack([picture()] * 3), ())).all()


def test_an_ellipse_smaller_than_a_pixel_reads_one():
    tiny = {"blobs": Blobs((Blob("dot", 900, 500, 1, 1, 0),))}
    z = z_to_text(tiny | {"colours": Colours((ElementColours.from_hex("dot", BLUE),))})
    assert colour_fits([z], picture()[None], ())[0, 0] == pytest.approx(0, abs=0.005)

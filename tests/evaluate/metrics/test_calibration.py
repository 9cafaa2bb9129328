import numpy as np
import pytest

from pipelines.evaluate.metrics.calibration import FACTORS, MOST_COUNTED, calibration
from pipelines.evaluate.observe import Observed
from pipelines.latents.blobs import Blob, Blobs
from pipelines.latents.boxes import Box, Boxes
from pipelines.latents.palette import Colour, Palette
from pipelines.latents.sequence import z_to_text


def z(*centres, size=200, grey=500, kinds=("boxes", "palette")):
    half = size // 2
    boxes = [Box("circle", x - half, y - half, x + half, y + half) for x, y in centres]
    latents = {
        "boxes": Boxes(tuple(boxes)),
        "palette": Palette((Colour(grey, 500, 500, 700), Colour(100, 500, 500, 300))),
    }
    return z_to_text({kind: latents[kind] for kind in kinds})


def seen(texts, captions=3, seeds=2):
    """The same z for every caption and seed."""
    nothing = np.zeros((captions, seeds, len(texts), 0))
    return Observed(nothing, [], [[texts] * seeds] * captions, *[nothing] * 4)


LEFT, RIGHT = (150, 500), (850, 500)


def test_equal_shares_are_calibrated():
    got = calibration(seen([z(LEFT), z(RIGHT)]), seen([z(RIGHT), z(LEFT)]))
    factors = ("count", "place", "size", "colour")
    assert set(got) == {f"z.calibration.{f}{end}" for f in factors for end in ("", ".floor")}
    assert all(got[f"z.calibration.{factor}"].value == 0.0 for factor in factors)


@pytest.mark.parametrize(
    ("factor", "drawn", "distance"),
    [
        ("place", [z(LEFT), z(LEFT)], 0.5),  # half of the data's are on the right
        ("count", [z(LEFT, RIGHT), z(RIGHT, LEFT)], 1.0),
        ("size", [z(LEFT, size=290), z(RIGHT, size=290)], 1.0),
        ("colour", [z(LEFT, grey=900), z(RIGHT, grey=900)], 0.7),
    ],
)
def test_a_preference_is_seen_in_its_factor_alone(factor, drawn, distance):
    got = calibration(seen(drawn * 10), seen([z(LEFT), z(RIGHT)] * 10))
    assert got[f"z.calibration.{factor}"].value == pytest.approx(distance)
    assert got[f"z.calibration.{factor}"].value > 2 * got[f"z.calibration.{factor}.floor"].value
    others = {"place", "count", "size", "colour"} - {factor}
    assert all(got[f"z.calibration.{other}"].value == 0.0 for other in others)


def test_the_floor_is_what_equal_z_in_finite_numbers_differ_by():
    rng = np.random.default_rng(0)

    def some(count):
        group = [z(tuple(rng.integers(150, 850, 2).tolist())) for _ in range(count)]
        return seen(group, captions=1, seeds=1)

    few = [calibration(some(12), some(12)) for _ in range(40)]
    floor = np.mean([got["z.calibration.place.floor"].value for got in few])
    assert np.mean([got["z.calibration.place"].value for got in few]) == pytest.approx(
        floor, rel=0.1
    )
    assert calibration(some(400), some(400))["z.calibration.place.floor"].value < floor / 3


def test_captions_that_a_side_says_nothing_of_are_left_out():
    drawn, real = seen([z(LEFT)]), seen([z(LEFT)])
    other = Observed(
        *(getattr(real, name) for name in ("features", "verdicts")),
        [*real.z[:2], [[""]] * 2],
        *[real.edges] * 4,
    )
    got = calibration(drawn, other)["z.calibration.place"]
    assert got.value == 0.0
    assert np.isnan(got.table[2]).all() and np.isfinite(got.table[:2]).all()


def test_only_what_both_sides_say_is_compared():
    got = calibration(seen([z(LEFT, kinds=("palette",))]), seen([z(LEFT)]))
    assert set(got) == {"z.calibration.colour", "z.calibration.colour.floor"}
    assert calibration(seen([""]), seen([z(LEFT)])) == {}


def shares(factor, text):
    """The bins of a z that are not empty, with their shares, and how many bins there are."""
    found = FACTORS[factor](text)
    return {int(cell): float(found[cell]) for cell in found.nonzero()[0]}, len(found)


@pytest.mark.parametrize("row", range(3))
@pytest.mark.parametrize("column", range(3))
def test_places_are_cells_of_a_grid_of_three(column, row):
    edges = (170, 500, 830)
    box = Box("a", edges[column] - 30, edges[row] - 150, edges[column] + 30, edges[row] + 150)
    blob = Blob("a", edges[column], edges[row], 50, 20, 0)
    for latent in ({"boxes": Boxes((box,))}, {"blobs": Blobs((blob,))}):
        assert shares("place", z_to_text(latent)) == ({3 * row + column: 1.0}, 9)


def test_sizes_are_roots_of_areas_in_sixteenths_of_the_side():
    for width, height in ((60, 60), (100, 400), (900, 250), (1000, 1000)):
        text = z_to_text({"boxes": Boxes((Box("a", 0, 0, width, height),))})
        cell = min(int((width * height) ** 0.5 * 16 / 1000), 15)
        assert shares("size", text) == ({cell: 1.0}, 16)
    for major, minor in ((40, 20), (300, 100), (450, 400)):
        text = z_to_text({"blobs": Blobs((Blob("a", 500, 500, major, minor, 0),))})
        cell = int((3.14159265 * major * minor) ** 0.5 * 16 / 1000)
        assert shares("size", text) == ({cell: 1.0}, 16)


def test_boxes_are_counted_and_blobs_only_without_them():
    blobs = Blobs(tuple(Blob("a", 500, 500, 50, 20, 0) for _ in range(3)))
    both = {"boxes": Boxes((Box("a", 0, 0, 9, 9),)), "blobs": blobs}
    assert shares("count", z_to_text(both)) == ({1: 1.0}, MOST_COUNTED + 1)
    assert shares("count", z_to_text({"blobs": blobs})) == ({3: 1.0}, MOST_COUNTED + 1)
    assert all(FACTORS[name]("") is None for name in FACTORS)


def test_colours_are_cells_of_a_cube_of_six_by_their_weight():
    palette = Palette((Colour(999, 0, 500, 700), Colour(170, 400, 840, 300)))
    cells = {5 * 36 + 0 * 6 + 3: 0.7, 1 * 36 + 2 * 6 + 5: 0.3}
    found, count = shares("colour", z_to_text({"palette": palette}))
    assert found == pytest.approx(cells) and count == 216


def test_a_distance_has_a_contribution_of_each_caption_under_each_seed():
    got = calibration(seen([z(LEFT)], captions=4, seeds=2), seen([z(LEFT)], captions=4, seeds=2))
    assert got["z.calibration.place"].table.shape == (4, 2)

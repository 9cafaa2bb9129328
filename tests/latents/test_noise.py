"""Noise on z: always a valid z, in proportion to its amount."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.latents.blobs import Blob, Blobs
from pipelines.latents.boxes import Box, Boxes
from pipelines.latents.colours import Colours, ElementColours
from pipelines.latents.description import Description
from pipelines.latents.noise import DROPPED, MOVED, SWAPPED, noisy_z
from pipelines.latents.palette import Colour, Palette
from pipelines.latents.sequence import z_from_text, z_to_text
from pipelines.latents.text import LatentError
from pipelines.latents.tokens import Tokens

LABELS = ("circle", "star", "a;b")
labels, grid = st.sampled_from(LABELS), st.integers(0, 1000)
edges = st.tuples(st.integers(0, 999), st.integers(1, 1000)).filter(lambda pair: pair[0] < pair[1])
boxes = st.builds(
    lambda name, x, y: Box(name, x[0], y[0], x[1], y[1]), labels, edges, edges
)  # fmt: skip
radii = st.tuples(st.integers(1, 1000), st.integers(1, 1000)).map(sorted)
blobs = st.builds(
    lambda name, x, y, radius, theta: Blob(name, x, y, radius[1], radius[0], theta),
    labels, grid, grid, radii, st.integers(0, 179),
)  # fmt: skip
levels = st.integers(0, 255)
weights = st.lists(st.floats(0.01, 1.0), min_size=1, max_size=8)
oklab = st.tuples(st.floats(0, 1), st.floats(-0.4, 0.4), st.floats(-0.4, 0.4))


def lists(items: st.SearchStrategy, most: int = 15) -> st.SearchStrategy:
    return st.lists(items, min_size=1, max_size=most).map(tuple)


@st.composite
def palettes(draw) -> Palette:
    shares = draw(weights)
    return Palette.from_oklab(np.array([draw(oklab) for _ in shares]), shares)


plans = st.fixed_dictionaries(
    {},
    optional={
        "description": st.just(Description("a star on the left")),
        "boxes": lists(boxes).map(Boxes),
        "blobs": lists(blobs).map(Blobs),
        "palette": palettes(),
        "colours": lists(st.builds(ElementColours, labels, *[levels] * 6)).map(Colours),
        "tokens": st.just(Tokens(2, 2, 9, (1, 2, 3, 4))),
    },
)


@settings(deadline=None)
@given(plans, st.floats(0, 1), st.integers(0, 2**32))
def test_noisy_z_is_a_valid_z_of_the_same_kinds(z, amount, seed) -> None:
    noisy = noisy_z(z, amount, np.random.default_rng(seed), LABELS)
    assert list(noisy) == list(z)
    assert z_from_text(z_to_text(noisy)) == noisy
    assert noisy == noisy_z(z, amount, np.random.default_rng(seed), LABELS)
    for kind, latent in z.items():
        if kind in ("description", "tokens"):
            assert noisy[kind] == latent
        else:
            assert 1 <= len(noisy[kind].items) <= len(latent.items)


@given(plans, st.integers(0, 99))
def test_no_noise_changes_nothing(z, seed) -> None:
    assert noisy_z(z, 0.0, np.random.default_rng(seed)) == z


@pytest.mark.parametrize("amount", [0.5, 1.0])
def test_rates_are_those_that_are_stated(amount) -> None:
    z = {"boxes": Boxes(tuple(Box("circle", 400, 400, 600, 600) for _ in range(15)))}
    rng = np.random.default_rng(0)
    found = [item for _ in range(400) for item in noisy_z(z, amount, rng, LABELS)["boxes"].items]
    assert len(found) / 6000 == pytest.approx(1 - DROPPED * amount, abs=0.02)
    others = np.mean([item.label != "circle" for item in found])
    assert others == pytest.approx(SWAPPED * amount * 2 / 3, abs=0.02)
    assert np.std([item.x1 for item in found]) == pytest.approx(1000 * MOVED * amount, rel=0.05)


def test_labels_are_those_of_z_where_none_are_given_and_kinds_err_apart() -> None:
    names = ("star", "heart")
    z = {
        "boxes": Boxes(tuple(Box(name, 0, 0, 500, 500) for name in names)),
        "blobs": Blobs(tuple(Blob(name, 250, 250, 250, 250, 0) for name in names)),
    }
    rng = np.random.default_rng(0)
    drawn = [noisy_z(z, 1.0, rng) for _ in range(200)]
    seen = {item.label for each in drawn for item in each["boxes"].items}
    assert seen == set(names)
    labels = [[[item.label for item in each[kind].items] for kind in z] for each in drawn]
    assert 0.2 < np.mean([ours != theirs for ours, theirs in labels]) < 0.9


class Rising(Boxes):
    """A kind of others with a rule that no bound tells."""

    kind = "rising"

    def validate(self) -> None:
        if [item.x1 for item in self.items] != sorted(item.x1 for item in self.items):
            raise LatentError(self.kind, "it falls.")
        super().validate()


def test_a_kind_of_others_stays_as_it_is_where_noise_breaks_its_rules() -> None:
    items = tuple(Box("a", 100 + n, 0, 900, 900) for n in range(10))
    z, rng = {"rising": Rising(items)}, np.random.default_rng(0)
    drawn = [noisy_z(z, 1.0, rng) for _ in range(20)]
    assert all(each["rising"].validate() is None for each in drawn)
    assert z in drawn


def test_a_palette_keeps_its_sum_and_order() -> None:
    palette = Palette((Colour(500, 500, 500, 999), Colour(0, 0, 0, 1)))
    rng = np.random.default_rng(0)
    for _ in range(50):
        found = noisy_z({"palette": palette}, 1.0, rng)["palette"]
        assert sum(colour.weight for colour in found.items) == 1000

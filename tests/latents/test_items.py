"""Lists of items: validation, text and bytes."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.latents.boxes import Box, Boxes
from pipelines.latents.colours import Colours, ElementColours
from pipelines.latents.description import Description
from pipelines.latents.palette import Colour, Palette
from pipelines.latents.registry import KINDS
from pipelines.latents.text import LatentError
from pipelines.latents.tokens import Tokens

CIRCLE = Box("circle", 120, 330, 410, 620)
STAR = Box("blue star", 500, 0, 1000, 1)


def test_text_form():
    boxes = Boxes((CIRCLE, STAR))
    text = "circle <120><330><410><620> <;> blue star <500><0><1000><1>"
    assert boxes.to_text() == text
    assert Boxes.from_text(text) == boxes


@pytest.mark.parametrize(
    "text",
    [
        "circle (120, 330, 410, 620); blue star (500, 0, 1000, 1)",
        "  circle(120,330,410,620) ;\n blue   star (500 , 0 , 1000 , 1) ",
        "circle <120> <330> <410> <620> ; blue star<500><0><1000><1>",
        "circle<120><330><410><620><;>blue%20star<500><0><1000><1>",
    ],
)
def test_typed_text_is_parsed(text):
    assert Boxes.from_text(text) == Boxes((CIRCLE, STAR))


def test_typed_labels_may_contain_any_other_character():
    assert Boxes.from_text("cercle é 50% (0, 0, 1, 1)").items[0].label == "cercle é 50%"


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ; ",
        "circle",
        "circle <1><2><3>",
        "circle <1><2><3><4><5>",
        "circle (1, 2, 3)",
        "circle (1 2 3 4)",
        "circle (1, 2, 3, 4,)",
        "circle (-1, 2, 3, 4)",
        "circle (1.5, 2, 3, 4)",
        "circle (1, 2, 3, 4) star (1, 2, 3, 4)",
        "circle <1><2><3><4> star <1><2><3><4>",
        "circle <1><2><3><4>;",
        "<1><2><3><4>",
        "circle <1><2><3><1001>",
        "circle <1><2><3><99999>",
        "circle (1, 2, 3, 999999999)",
        "circle (1, 2, 3, 99999999999999999999999999)",
        "circle <3><2><3><4>",
        "circle <1><4><3><4>",
        "%FF <1><2><3><4>",
        "%ED%A0%80 <1><2><3><4>",
        "circle <١><2><3><4>",
    ],
)
def test_bad_text_is_refused(text):
    with pytest.raises(LatentError):
        Boxes.from_text(text)


@pytest.mark.parametrize("label", ["", None, 3, b"x", "\ud800", "a\udfffb"])
def test_bad_labels_are_refused(label):
    with pytest.raises(LatentError) as caught:
        Boxes((Box(label, 0, 0, 1, 1),))
    assert caught.value.what == "boxes item 0"


@pytest.mark.parametrize("value", [-1, 1001, 1.0, True, "1", None])
def test_numbers_are_integers_on_the_grid(value):
    with pytest.raises(LatentError, match="item 1.* x2 .* 1 to 1000"):
        Boxes((CIRCLE, Box("star", 0, 0, value, 1)))


def test_between_one_and_max_items():
    with pytest.raises(LatentError, match="0.* 1 to 15"):
        Boxes(())
    assert len(Boxes([CIRCLE] * 15).items) == 15
    with pytest.raises(LatentError, match="16.* 1 to 15"):
        Boxes([CIRCLE] * 16)
    with pytest.raises(LatentError, match="Box"):
        Boxes((("circle", 0, 0, 1, 1),))


def test_bytes_are_compact_json():
    assert json.loads(Boxes((CIRCLE,)).to_bytes()) == {
        "kind": "boxes",
        "version": 1,
        "items": [["circle", 120, 330, 410, 620]],
    }


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xff\xfe",
        b"[" * 100_000,
        b"9" * 10_000,
        b"null",
        b"[]",
        b"{}",
        b'{"kind":"blobs","version":1,"items":[["a",0,0,1,1]]}',
        b'{"kind":"boxes","version":2,"items":[["a",0,0,1,1]]}',
        b'{"kind":"boxes","version":1,"items":[]}',
        b'{"kind":"boxes","version":1,"items":{}}',
        b'{"kind":"boxes","version":1,"items":"abc"}',
        b'{"kind":"boxes","version":1,"items":[["a",0,0,1]]}',
        b'{"kind":"boxes","version":1,"items":[["a",0,0,1,1,1]]}',
        b'{"kind":"boxes","version":1,"items":["abcde"]}',
        b'{"kind":"boxes","version":1,"items":[["a",0,0,1,NaN]]}',
        b'{"kind":"boxes","version":1,"items":[["a",0,0,1,1.0]]}',
        b'{"kind":"boxes","version":1,"items":[["\\ud800",0,0,1,1]]}',
        b'{"kind":"boxes","version":1,"items":[["a",0,0,1,1]],"more":1}',
    ],
)
def test_bad_bytes_are_refused(data):
    with pytest.raises(LatentError):
        Boxes.from_bytes(data)


@settings(deadline=None)
@given(data=st.data())
def test_text_and_bytes_round_trip(any_z, data):
    for latent in data.draw(any_z).values():
        assert type(latent).from_text(latent.to_text()) == latent
        assert type(latent).from_bytes(latent.to_bytes()) == latent
        assert latent.to_text().isascii()


@settings(deadline=None)
@given(text=st.text(alphabet=st.sampled_from("ab<>();%, 0123\n"), max_size=40) | st.text())
def test_any_text_is_parsed_or_refused(text):
    for kind in KINDS.values():
        try:
            latent = kind.from_text(text)
        except LatentError:
            continue
        assert kind.from_text(latent.to_text()) == latent


def test_people_read_numbers_words_and_colours():
    boxes = Boxes((Box("red; star", 1, 2, 30, 40), Box("ring", 0, 0, 1000, 500)))
    assert boxes.readable() == "red; star (1, 2, 30, 40); ring (0, 0, 1000, 500)"
    palette = Palette.sorted([Colour.from_hex("#faf6ec", 700), Colour.from_hex("#dc2828", 300)])
    assert palette.readable() == "#faf6ec 70.0 %, #dc2828 30.0 %"
    assert Description("a (quiet) street").readable() == "a (quiet) street"
    assert Tokens(1, 20, 30, tuple(range(20))).readable().startswith("1 x 20 ids below 30: 0 1 2")
    assert Tokens(1, 20, 30, tuple(range(20))).readable().endswith("15 ...")
    colours = Colours((ElementColours.from_hex("kite", "#d8342c", "#ffffff"),))
    assert colours.readable() == "kite #D8342C, #FFFFFF"

"""Tokens: shape, text, bytes and edits."""

from __future__ import annotations

import json

import pytest

from pipelines.latents.grid_shape import Shape
from pipelines.latents.sequence import z_to_text
from pipelines.latents.text import LatentError
from pipelines.latents.tokens import Tokens
from pipelines.latents.vocabulary import encode_z

GRID = Tokens(2, 3, 10, (0, 1, 2, 3, 4, 9))
LARGE = Tokens(1, 2, 4096, (1001, 4095))


def test_text_form():
    assert GRID.to_text() == "<2><3><9> <0><1><2><3><4><9>"
    assert Tokens.from_text(" <2> <3>\n<9><0><1><2><3><4><9>") == GRID
    assert GRID.shape == Shape(2, 3, 10)


def test_ids_of_a_large_codebook_are_two_numbers(tokenizer):
    assert LARGE.to_text() == "<0><1><2><4><91> <1><0><4><91>"
    assert Tokens.from_text(LARGE.to_text()) == LARGE
    assert Tokens.from_bytes(LARGE.to_bytes()) == LARGE
    assert len(encode_z(tokenizer, z_to_text({"tokens": LARGE}))) == 1 + LARGE.shape.length


def test_an_id_costs_one_token(tokenizer):
    tokens = Tokens(8, 8, 1001, tuple(range(937, 1001)))
    assert len(encode_z(tokenizer, z_to_text({"tokens": tokens}))) == 1 + 3 + 64


@pytest.mark.parametrize(
    ("values", "names"),
    [
        ((0, 3, 10, ()), "height .*0"),
        ((33, 1, 10, (0,) * 33), "height .*33.* 1 to 32"),
        ((1, True, 10, (0,)), "width .*True"),
        ((1, 1, 0, (0,)), "0"),
        ((1, 1, 1002002, (0,)), "1002002.* 1002001"),
        ((1, 1, 10.0, (0,)), "10.0"),
        ((1, 2, 10, (0,)), "1 .*1 × 2"),
        ((1, 2, 10, (0, 10)), "id 1 .*10.* 0 to 9"),
        ((1, 2, 10, (0, -1)), "id 1 .*-1"),
        ((1, 2, 10, (0, 1.0)), "id 1 .*1.0"),
    ],
)
def test_a_bad_value_is_named(values, names):
    with pytest.raises(LatentError, match=names):
        Tokens(*values)


@pytest.mark.parametrize(
    "text",
    ["", "a", "<1>", "<1><1>", "<1><1><9>", "<1><1><9><0><0>", "<1><1><9><10>", "<1><1><9> 0",
     "<1><1><9> <;> <0>", "<0><1><9>", "<1><1><1001><0>", "<1><1><9><99999>", "<1><1><9><١>",
     "<0><1><1><0><9><0><0>", "<0><1><1><4><91><0>", "<0><1><1><4><1001><0><0>",
     "<0><1><1><4><91><4><92>", "<0><0><1><4><91>", "<0>"],
)  # fmt: skip
def test_bad_text_is_refused(text):
    with pytest.raises(LatentError):
        Tokens.from_text(text)


def test_bytes_are_compact_json():
    assert json.loads(GRID.to_bytes()) == {
        "kind": "tokens",
        "version": 1,
        "height": 2,
        "width": 3,
        "codebook": 10,
        "ids": [0, 1, 2, 3, 4, 9],
    }


@pytest.mark.parametrize(
    "change",
    [{"ids": 3}, {"ids": "012349"}, {"ids": [0]}, {"ids": [[0]]}, {"height": "2"}, {"width": None},
     {"codebook": 9}, {"version": 2}, {"kind": "boxes"}, {"more": 1}],
)  # fmt: skip
def test_bad_bytes_are_refused(change):
    data = json.dumps(json.loads(GRID.to_bytes()) | change).encode()
    with pytest.raises(LatentError):
        Tokens.from_bytes(data)

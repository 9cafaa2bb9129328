"""z as text, and through real tokenizers."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipelines.latents.base import LatentError
from pipelines.latents.boxes import Box, Boxes
from pipelines.latents.palette import Colour, Palette
from pipelines.latents.sequence import SPECIAL_TOKENS, order_kinds, z_from_text, z_to_text
from pipelines.latents.vocabulary import decode_z, encode_z

Z = {
    "boxes": Boxes((Box("circle", 120, 330, 410, 620), Box("star", 0, 0, 1, 1))),
    "palette": Palette((Colour(612, 500, 400, 1000),)),
}


def test_text_form():
    text = (
        "<boxes> circle <120><330><410><620> <;> star <0><0><1><1> <palette> <612><500><400><1000>"
    )
    assert z_to_text(Z) == text
    assert z_from_text(text) == Z


def test_the_order_is_kept():
    swapped = {"palette": Z["palette"], "boxes": Z["boxes"]}
    assert list(z_from_text(z_to_text(swapped))) == ["palette", "boxes"]
    assert order_kinds(["palette", "blobs", "description"]) == ("description", "blobs", "palette")


def test_nothing_is_an_empty_z():
    assert z_to_text({}) == ""
    assert z_from_text(" ") == {}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("circle <1><2><3><4>", "begins with 'circle"),
        ("<boxes> a <1><2><3><4> <boxes> a <1><2><3><4>", "occurs twice"),
        ("<boxes>", "boxes"),
        ("<boxes> a <1><2><3><4> <palette>", "palette"),
        ("<tokens> <1>", "no shape"),
        ("<description> <boxes> a <1><2><3><4>", "description"),
    ],
)
def test_bad_text_is_refused(text, message):
    with pytest.raises(LatentError, match=message):
        z_from_text(text)


def test_a_latent_stands_under_its_own_kind():
    with pytest.raises(LatentError, match="'palette'"):
        z_to_text({"boxes": Z["palette"]})


@pytest.mark.parametrize("kinds", [["boxes", "boxes"], ["box"]])
def test_order_kinds_refuses(kinds):
    with pytest.raises(LatentError):
        order_kinds(kinds)


def test_special_tokens_are_distinct():
    assert len(set(SPECIAL_TOKENS)) == len(SPECIAL_TOKENS) == 5 + 1 + 1001


@settings(deadline=None, max_examples=200, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_z_survives_real_tokenizers(tokenizer, any_z, data):
    z = data.draw(any_z)
    ids = tokenizer(z_to_text(z)).input_ids
    assert ids[-1] == tokenizer.eos_token_id and tokenizer.unk_token_id not in ids
    assert z_from_text(tokenizer.decode(ids, skip_special_tokens=True)) == z
    assert encode_z(tokenizer, decode_z(tokenizer, ids)) == ids[:-1]


def test_every_hostile_label_survives_real_tokenizers(tokenizer, hostile_labels):
    for label in hostile_labels:
        z = {"boxes": Boxes((Box(label, 0, 0, 1, 1), Box(label, 0, 0, 2, 2)))}
        assert z_from_text(decode_z(tokenizer, encode_z(tokenizer, z_to_text(z)))) == z

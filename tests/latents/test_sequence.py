"""z as text, and through real tokenizers."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipelines.latents.boxes import Box, Boxes
from pipelines.latents.palette import Colour, Palette
from pipelines.latents.sequence import order_kinds, z_from_text, z_to_text
from pipelines.latents.text import LatentError
from pipelines.latents.vocabulary import SPECIAL_TOKENS, decode_z, encode_z

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
    ("text", "what"),
    [
        ("circle <1><2><3><4>", "z"),
        ("<boxes> a <1><2><3><4> <boxes> a <1><2><3><4>", "z"),
        ("<boxes>", "boxes"),
        ("<boxes> a <1><2><3><4> <palette>", "palette"),
        ("<tokens> <1>", "tokens"),
        ("<description> <boxes> a <1><2><3><4>", "description"),
    ],
)
def test_bad_text_is_refused(text, what):
    with pytest.raises(LatentError) as caught:
        z_from_text(text)
    assert caught.value.what == what


def test_a_latent_of_another_kind_is_refused():
    with pytest.raises(LatentError) as caught:
        z_to_text({"boxes": Z["palette"]})
    assert caught.value.what == "boxes"


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

"""Description: normalisation, validation and edits."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.latents.description import MAX_CHARACTERS, Description
from pipelines.latents.sequence import z_from_text, z_to_text
from pipelines.latents.text import LatentError
from pipelines.latents.vocabulary import decode_z, encode_z

STREET = Description("A quiet street (at dusk); red lamps, wet stones: film-like, isn't it?")


def test_sentences_are_written_as_they_are():
    assert STREET.to_text() == STREET.text
    assert Description("50% <12> 🎨").to_text() == "50%25 %3C12%3E %F0%9F%8E%A8"


@pytest.mark.parametrize(
    ("given", "text"),
    [
        (" a\n\tquiet  street\u00a0\u2028", "a quiet street"),
        ("e\u0301", "é"),
        ("“red”, it’s – it—is…", '"red", it\'s - it - is...'),
        ("\u202eabc\u200d", "\u202eabc\u200d"),
        ("ﬁ ①", "ﬁ ①"),
    ],
)
def test_canonical_form(given, text):
    description = Description(given)
    assert description.text == text
    assert Description.from_text(given) == Description.from_bytes(description.to_bytes())


@pytest.mark.parametrize(
    "text", ["", " \n", "\u2003", None, 3, b"x", "a\x00", "\x1b[31m", "a\x7f", "a\u0080", "\ud800"]
)
def test_blank_text_and_control_characters_are_refused(text):
    with pytest.raises(LatentError) as caught:
        Description(text)
    assert caught.value.what == "description"


def test_the_length_is_limited():
    assert Description("é" * MAX_CHARACTERS)
    with pytest.raises(LatentError, match="1001.* 1000"):
        Description("a" * (MAX_CHARACTERS + 1))


SEVERAL = Description("long \n text", (("a “short” one", 0.5), ('"others": x', 2.5)))


def test_several_texts_are_stored_with_their_weights():
    assert SEVERAL.weighted() == [("long text", 1.0), ('a "short" one', 0.5), ('"others": x', 2.5)]
    assert Description.from_bytes(SEVERAL.to_bytes()) == SEVERAL
    alone = Description('an "others": text')
    assert Description.from_bytes(alone.to_bytes()) == alone
    longest = Description('a "short" one').to_text()
    assert Description.statistics([SEVERAL, Description("short")]) == {"longest": [longest]}


def test_one_of_several_texts_is_drawn_by_its_weight():
    drawn = [SEVERAL.drawn((at + 0.5) / 400).text for at in range(400)]
    assert [drawn.count(text) for text, _ in SEVERAL.weighted()] == [100, 50, 250]
    assert STREET.drawn(0.9) is STREET
    assert not SEVERAL.drawn(0.9999999999999999).others


@pytest.mark.parametrize("other", [("", 1.0), ("a\x00", 1.0), ("a", 0.0), ("a", float("nan"))])
def test_other_texts_follow_the_same_rules(other):
    with pytest.raises(LatentError):
        Description("a", (other,))


@pytest.mark.parametrize(
    "others", ['"x"', "[[1,2]]", '[["a"]]', '[["a","b"]]', '[["a",-1]]', '{"a":1}', "[[[],1]]"]
)
def test_damaged_bytes_of_other_texts_are_refused(others):
    data = f'{{"kind":"description","version":1,"text":"a","weight":1.0,"others":{others}}}'
    with pytest.raises(LatentError):
        Description.from_bytes(data.encode())


@pytest.mark.parametrize(
    "data",
    [
        b"[]",
        b'{"kind":"description","version":1,"text":""}',
        b'{"kind":"description","version":1,"text":["a"]}',
        b'{"kind":"description","version":2,"text":"a"}',
        b'{"kind":"description","version":1}',
        b'{"kind":"description","version":1,"text":"a","more":1}',
        b'{"kind":"palette","version":1,"text":"a"}',
        b'{"kind":"description","version":1,"text":"\\ud800"}',
    ],
)
def test_bad_bytes_are_refused(data):
    with pytest.raises(LatentError):
        Description.from_bytes(data)


@settings(deadline=None)
@given(st.text(alphabet=st.sampled_from('ab (%;"0289ACEFCC'), min_size=1, max_size=40))
def test_every_escaped_text_can_be_parsed(text):
    if text.strip():
        read = Description.from_text(text)
        assert len(read.text) <= len(text.strip())
        assert Description.from_text(read.to_text()) == read


@settings(deadline=None)
@given(st.binary(min_size=1, max_size=12))
def test_every_escape_can_be_parsed(data):
    written = "".join(f"%{byte:02X}" for byte in data)
    read = Description.from_text(written)
    assert len(read.text) <= len(written)
    assert Description.from_text(read.to_text()) == read


def test_every_hostile_text_survives_real_tokenizers(tokenizer, hostile_labels):
    for text in hostile_labels:
        try:
            z = {"description": Description(f"{text} a{text}b {text}")}
        except LatentError:
            assert any(ord(char) < 32 for char in text)
            continue
        ids = encode_z(tokenizer, z_to_text(z))
        assert tokenizer.unk_token_id not in ids
        assert z_from_text(decode_z(tokenizer, ids)) == z

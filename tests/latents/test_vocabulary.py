"""Tokenizers: conventions, added tokens, saving."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.core.errors import KaleidoError
from pipelines.latents.text import LatentError
from pipelines.latents.vocabulary import (
    SPECIAL_TOKENS,
    add_special_tokens,
    decode_z,
    encode_label,
    encode_z,
    plain_caption,
    train_tokenizer,
)

TEXT = "<boxes> red star <0><7><1000><12> <;> circle%2F2 <1><2><3><4>"


def test_t5_conventions(tokenizer):
    assert (tokenizer.pad_token_id, tokenizer.eos_token_id, tokenizer.unk_token_id) == (0, 1, 2)
    assert tokenizer.bos_token is None
    assert tokenizer("a circle").input_ids[-1] == 1
    batch = tokenizer(["a circle", "two red stars and a ring"], padding=True)
    assert batch.input_ids[0][-1] == 0 and batch.attention_mask[0][-1] == 0


def test_each_token_of_z_is_one_id(tokenizer):
    ids = encode_z(tokenizer, " ".join(SPECIAL_TOKENS))
    assert tokenizer.convert_ids_to_tokens(ids) == list(SPECIAL_TOKENS)
    assert len(set(ids)) == len(SPECIAL_TOKENS)


def test_a_word_is_the_same_token_in_a_caption_and_as_a_label(tokenizer):
    assert encode_label(tokenizer, "circle") == encode_z(tokenizer, "a red circle")[-1:]
    assert encode_label(tokenizer, "circle") == encode_z(tokenizer, "circle")


def test_captions_keep_their_digits_and_semicolons(tokenizer):
    caption = "3 circles; a star (1, 2)"
    ids = encode_z(tokenizer, caption)
    assert not set(ids) & set(tokenizer.convert_tokens_to_ids(list(SPECIAL_TOKENS)))
    assert tokenizer.decode(ids).strip() == caption


def test_adding_twice_changes_nothing(t5_tokenizer):
    size = len(t5_tokenizer)
    assert add_special_tokens(t5_tokenizer) == 0
    assert len(t5_tokenizer) == size


def test_ids_of_a_pretrained_tokenizer_stay(bare_t5_tokenizer, t5_tokenizer):
    text = "a red circle; 3 stars"
    assert t5_tokenizer(text).input_ids == bare_t5_tokenizer(text).input_ids
    first = t5_tokenizer.convert_tokens_to_ids("<description>")
    assert first == len(bare_t5_tokenizer)
    assert len(t5_tokenizer) == len(bare_t5_tokenizer) + len(SPECIAL_TOKENS)


def test_a_tokenizer_that_cannot_represent_labels_is_refused():
    from transformers import T5Tokenizer

    with pytest.raises(KaleidoError) as caught:
        add_special_tokens(T5Tokenizer())
    assert caught.value.code == "bad-model"


def test_save_and_load(tokenizer, tmp_path):
    from transformers import AutoTokenizer

    tokenizer.save_pretrained(tmp_path)
    loaded = AutoTokenizer.from_pretrained(tmp_path)
    assert len(loaded) == len(tokenizer)
    assert loaded(TEXT).input_ids == tokenizer(TEXT).input_ids
    ids = encode_z(loaded, TEXT)
    assert decode_z(loaded, [0, *ids, 1, 0, 0]) == decode_z(tokenizer, ids)


def test_training_is_deterministic_and_keeps_to_its_size():
    texts = [f"a {colour} {shape}" for colour in ("red", "blue") for shape in ("star", "ring")]
    first, second = (train_tokenizer(iter(texts), 1270) for _ in range(2))
    assert first.get_vocab() == second.get_vocab()
    assert first.backend_tokenizer.to_str() == second.backend_tokenizer.to_str()
    assert len(first) == 1270
    with pytest.raises(KaleidoError) as caught:
        train_tokenizer(texts, 1265)
    assert caught.value.code == "bad-setting"


@settings(deadline=None)
@given(st.text())
def test_the_trained_tokenizer_loses_nothing(byte_tokenizer, caption):
    plain = plain_caption(caption)
    ids = encode_z(byte_tokenizer, plain)
    assert byte_tokenizer.unk_token_id not in ids
    assert byte_tokenizer.decode(ids).removeprefix(" ") == plain.removeprefix(" ")


@pytest.mark.parametrize("caption", ["<pad> a <120>", "<</s>>", "<boxes><;><1>", "<extra_id_0>"])
def test_a_caption_cannot_write_added_tokens(tokenizer, caption):
    ids = encode_z(tokenizer, plain_caption(caption))
    assert not set(ids) & (set(tokenizer.get_added_vocab().values()) - {tokenizer.unk_token_id})
    assert plain_caption("a < b > c <- 3") == "a < b > c <- 3"


def test_a_label_that_cannot_be_encoded_is_refused(bare_t5_tokenizer):
    with pytest.raises(LatentError) as caught:
        encode_label(bare_t5_tokenizer, "circle")
    assert caught.value.what == "label 'circle'"

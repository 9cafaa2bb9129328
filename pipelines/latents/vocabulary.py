"""Tokenizers of the prior: train a byte-level BPE, or add the tokens of z to any T5 tokenizer.

They follow T5's conventions: ``<pad>`` has id 0 and starts the decoder, ``</s>`` has id 1 and ends
every sequence, and there is no beginning-of-sequence token.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from pipelines.core.errors import KaleidoError
from pipelines.latents.text import (
    NUMBERS,
    SAFE_CHARACTERS,
    SENTENCE_MARKS,
    SEPARATOR,
    SHIPPED_KINDS,
    LatentError,
    check_label,
    escape,
    marker,
)

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

VALUE_TOKENS = (SEPARATOR, *NUMBERS)
"""The added tokens that every kind may use."""

SPECIAL_TOKENS = (*map(marker, SHIPPED_KINDS), *VALUE_TOKENS)
"""The tokens added to every vocabulary; other kinds add their markers."""

_BASE_TOKENS = ("<pad>", "</s>", "<unk>")
_LIKE_A_TOKEN = re.compile(r"<(?=[^\s<>]+>)")


def special_tokens(kinds: Iterable[str]) -> tuple[str, ...]:
    """Return `SPECIAL_TOKENS`, followed by the markers of `kinds` that are not among them."""
    return (*SPECIAL_TOKENS, *(marker(kind) for kind in kinds if kind not in SHIPPED_KINDS))


def train_tokenizer(
    texts: Iterable[str], vocab_size: int, kinds: Sequence[str] = ()
) -> PreTrainedTokenizerFast:
    """Train a byte-level BPE, which can represent any text, and add the tokens of z.

    Args:
        texts: Captions and labels; the same texts in the same order give the same tokenizer.
        vocab_size: The largest number of entries, including the tokens of z. A small corpus may
            yield fewer.
        kinds: The kinds of z; those beyond `SHIPPED_KINDS` add their markers.

    Raises:
        KaleidoError: If `vocab_size` is too small for 256 bytes and the added tokens.
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    added = len(special_tokens(kinds))
    least = len(_BASE_TOKENS) + 256 + added
    if vocab_size < least:
        raise KaleidoError(
            "vocab_size", f"{vocab_size} is too small.", f"Use at least {least}.", "bad-setting"
        )
    backend = Tokenizer(models.BPE())
    # With a leading space everywhere, a word is the same token within a caption, at its start, and
    # as a label after a marker.
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size - added,
        special_tokens=list(_BASE_TOKENS),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    backend.train_from_iterator(texts, trainer)
    backend.post_processor = processors.TemplateProcessing(
        single="$A </s>", special_tokens=[("</s>", _BASE_TOKENS.index("</s>"))]
    )
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend, pad_token="<pad>", eos_token="</s>", unk_token="<unk>"
    )
    add_special_tokens(tokenizer, kinds)
    return tokenizer


def add_special_tokens(tokenizer: PreTrainedTokenizerFast, kinds: Sequence[str] = ()) -> int:
    """Add the tokens of z to a T5 tokenizer in place; existing tokens keep their ids.

    They are ordinary added tokens, so ``decode(skip_special_tokens=True)`` keeps them. White space
    around them is stripped, since it would cost tokens and carries no meaning.

    Args:
        tokenizer: The tokenizer to extend.
        kinds: The kinds of z; those beyond `SHIPPED_KINDS` add their markers.

    Returns:
        The number of tokens added; resize the model's embeddings to ``len(tokenizer)``.

    Raises:
        KaleidoError: If the tokenizer cannot represent a character of labels or descriptions.
    """
    from transformers import AddedToken

    unknown = [c for c in SAFE_CHARACTERS + SENTENCE_MARKS if not _can_write(tokenizer, c)]
    if unknown:
        raise KaleidoError(
            "tokenizer",
            f"its vocabulary lacks {' '.join(unknown)}, which labels and descriptions need.",
            "Use a tokenizer trained on English text, such as T5's.",
            "bad-model",
        )
    added: int = tokenizer.add_tokens(
        [AddedToken(t, lstrip=True, rstrip=True, normalized=False) for t in special_tokens(kinds)]
    )
    return added


def number_ids(tokenizer: PreTrainedTokenizerFast) -> list[int]:
    """Return the token ids of `NUMBERS`."""
    ids: list[int] = tokenizer.convert_tokens_to_ids(list(NUMBERS))
    return ids


def plain_caption(caption: str) -> str:
    """Break up strings that the tokenizer would read as added tokens: ``<pad>`` -> ``< pad>``."""
    return _LIKE_A_TOKEN.sub("< ", caption)


def encode_z(tokenizer: PreTrainedTokenizerFast, text: str) -> list[int]:
    """Return the token ids of z's text, without the end-of-sequence token."""
    ids: list[int] = tokenizer(text, add_special_tokens=False).input_ids
    return ids


def decode_z(tokenizer: PreTrainedTokenizerFast, ids: Sequence[int]) -> str:
    """Return the text of sampled ids, without padding and end-of-sequence tokens."""
    text: Any = tokenizer.decode(
        list(ids), skip_special_tokens=True, clean_up_tokenization_spaces=False
    )
    return str(text)


def encode_label(tokenizer: PreTrainedTokenizerFast, label: str) -> list[int]:
    """Return the token ids of a label within z.

    Raises:
        LatentError: If the label is invalid, or does not survive encoding and decoding.
    """
    check_label("labels", label)
    ids = encode_z(tokenizer, f"{SEPARATOR} {escape(label)} {SEPARATOR}")[1:-1]
    if decode_z(tokenizer, ids).strip() != escape(label):
        raise LatentError(f"label {label!r}", "the tokenizer cannot represent it.")
    return ids


def token_texts(tokenizer: PreTrainedTokenizerFast) -> list[str]:
    """Return the text of every token id as part of a word; "" for added tokens and unused ids."""
    decoder = tokenizer.backend_tokenizer.decoder
    pieces = tokenizer.convert_ids_to_tokens(list(range(len(tokenizer))))
    added = set(tokenizer.get_added_vocab().values()) | set(tokenizer.all_special_ids)
    anchor = "<0>"  # decoders drop the space before the first piece of a text
    return [
        "" if index in added or piece is None else decoder.decode([anchor, piece])[len(anchor) :]
        for index, piece in enumerate(pieces)
    ]


def _can_write(tokenizer: PreTrainedTokenizerFast, character: str) -> bool:
    ids = tokenizer(character, add_special_tokens=False).input_ids
    return tokenizer.unk_token_id not in ids and decode_z(tokenizer, ids).strip() == character

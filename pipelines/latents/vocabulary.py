"""Tokenizers of the prior: a tiny one trained here, or any T5 one, plus the tokens of z.

T5's conventions hold: ``<pad>`` is 0 and also starts the decoder, ``</s>`` is 1 and ends every
sequence, and there is no beginning-of-sequence token.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from pipelines.core.errors import KaleidoError
from pipelines.latents.base import SENTENCE_MARKS, SEPARATOR, LatentError, escape
from pipelines.latents.items import check_label
from pipelines.latents.sequence import special_tokens

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

SAFE_CHARACTERS = "".join(chr(c) for c in range(33, 127) if escape(chr(c)) == chr(c)) + "%"
"""What an escaped label consists of, beside single inner spaces."""

_LIKE_A_TOKEN = re.compile(r"<(?=[^\s<>]+>)")


def train_tokenizer(
    texts: Iterable[str], vocab_size: int, kinds: Sequence[str] = ()
) -> PreTrainedTokenizerFast:
    """Train a byte-level BPE, which loses no character of any text, with the tokens of z.

    Args:
        texts: Captions and labels; equal texts in equal order give an equal tokenizer.
        vocab_size: Most entries, the tokens of z among them; few texts may give fewer.
        kinds: The kinds that z may have, beside Kaleido's own.

    Raises:
        KaleidoError: If `vocab_size` is too small for 256 bytes and the added tokens.
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    added = len(special_tokens(kinds))
    least = len(_BASE_TOKENS) + 256 + added
    if vocab_size < least:
        raise KaleidoError("vocab_size", f"{vocab_size} is too small.", f"Give {least} or more.")
    backend = Tokenizer(models.BPE())
    # A leading space everywhere: a word is one token in a caption's middle, at its beginning, and
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
    """Add the tokens of z to a T5 tokenizer, in place; tokens that it has already stay.

    They are ordinary added tokens, so that ``decode(skip_special_tokens=True)`` keeps them. White
    space beside them is dropped: it would cost tokens and means nothing.

    Args:
        tokenizer: It is changed.
        kinds: The kinds that z may have, beside Kaleido's own.

    Returns:
        How many tokens were added; the model's embeddings must grow to ``len(tokenizer)``.

    Raises:
        KaleidoError: If the tokenizer cannot write a character of labels or descriptions.
    """
    from transformers import AddedToken

    unknown = [c for c in SAFE_CHARACTERS + SENTENCE_MARKS if not _can_write(tokenizer, c)]
    if unknown:
        raise KaleidoError(
            "tokenizer",
            f"its vocabulary lacks {' '.join(unknown)}, which labels and descriptions need.",
            "Use one trained on English text, as T5's are.",
        )
    added: int = tokenizer.add_tokens(
        [AddedToken(t, lstrip=True, rstrip=True, normalized=False) for t in special_tokens(kinds)]
    )
    return added


def plain_caption(caption: str) -> str:
    """Break up what a tokenizer would take for an added token: ``<pad>`` becomes ``< pad>``."""
    return _LIKE_A_TOKEN.sub("< ", caption)


def encode_z(tokenizer: PreTrainedTokenizerFast, text: str) -> list[int]:
    """Return the ids of z written as text, without the end of the sequence."""
    ids: list[int] = tokenizer(text, add_special_tokens=False).input_ids
    return ids


def decode_z(tokenizer: PreTrainedTokenizerFast, ids: Sequence[int]) -> str:
    """Return the text of drawn ids; padding and the end of the sequence are dropped."""
    text: Any = tokenizer.decode(
        list(ids), skip_special_tokens=True, clean_up_tokenization_spaces=False
    )
    return str(text)


def encode_label(tokenizer: PreTrainedTokenizerFast, label: str) -> list[int]:
    """Return the ids that a label has within z.

    Raises:
        LatentError: If the label is no label, or the tokenizer does not give it back.
    """
    check_label("labels", label)
    ids = encode_z(tokenizer, f"{SEPARATOR} {escape(label)} {SEPARATOR}")[1:-1]
    if decode_z(tokenizer, ids).strip() != escape(label):
        raise LatentError(f"label {label!r}", "the tokenizer cannot write it.")
    return ids


def _can_write(tokenizer: PreTrainedTokenizerFast, character: str) -> bool:
    ids = tokenizer(character, add_special_tokens=False).input_ids
    return tokenizer.unk_token_id not in ids and decode_z(tokenizer, ids).strip() == character


_BASE_TOKENS = ("<pad>", "</s>", "<unk>")

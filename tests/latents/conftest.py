"""Tokenizers, and strategies for latents with hostile labels."""

from __future__ import annotations

import io
import string
import unicodedata
from collections.abc import Iterator

import pytest
from hypothesis import strategies as st

from pipelines.latents.blobs import Blob, Blobs
from pipelines.latents.boxes import Box, Boxes
from pipelines.latents.description import MAX_CHARACTERS, Description
from pipelines.latents.palette import Colour, Palette
from pipelines.latents.tokens import Tokens
from pipelines.latents.vocabulary import add_special_tokens, train_tokenizer

CAPTIONS = [
    "two circles and a star",
    "a red circle on a blue square",
    "a striped star, green and small; beside it 3 rings",
    "Drawing of a starfish (2, 3) | near #4",
]
HOSTILE = [
    ";", "<;>", " ; ", "<12>", "<boxes>", "</s>", "<pad>", "<unk>", "(1, 2, 3, 4)", "50%", "%41",
    "%", "%%", "12 circles", "a  b", " lead", "trail ", " ", "\n\t", "\x00", "\x1b[31m", "\u2028",
    "\u00a0", "é", "e\u0301", "ﬁ", "①", "🎨", "👩‍👩‍👧", "שלום", "\u202eabc", "▁", "Ġ", "\ufeff",
    "\uffff", "\ufffd", "<0x41>", "a|b#c", "'\"`", "A, b. C-d",
]  # fmt: skip

labels = st.text(min_size=1, max_size=12) | st.sampled_from(HOSTILE)
plain_labels = st.sampled_from(["circle", "star", "starfish", "red star", "ring"])
grid = st.integers(0, 1000)


@st.composite
def a_box(draw, label=labels) -> Box:
    x1, y1 = draw(st.integers(0, 999)), draw(st.integers(0, 999))
    x2, y2 = draw(st.integers(x1 + 1, 1000)), draw(st.integers(y1 + 1, 1000))
    return Box(draw(label), x1, y1, x2, y2)


@st.composite
def a_blob(draw, label=labels) -> Blob:
    r_major = draw(st.integers(1, 1000))
    r_minor = draw(st.integers(1, r_major))
    return Blob(draw(label), draw(grid), draw(grid), r_major, r_minor, draw(st.integers(0, 179)))


@st.composite
def a_palette(draw) -> Palette:
    cuts = sorted(draw(st.sets(st.integers(1, 999), max_size=7)))
    weights = [b - a for a, b in zip([0, *cuts], [*cuts, 1000], strict=True)]
    return Palette.sorted([Colour(draw(grid), draw(grid), draw(grid), w) for w in weights])


def a_description(label) -> st.SearchStrategy:
    texts = st.lists(label, min_size=1, max_size=4).map(" ".join).map(without_controls)
    made = texts.filter(str.strip).map(Description)
    # The grammar counts characters as written.
    return made.filter(lambda description: len(description.to_text()) <= MAX_CHARACTERS)


def without_controls(text: str) -> str:
    return "".join(c for c in text if c.isspace() or unicodedata.category(c) != "Cc")


@st.composite
def some_tokens(draw) -> Tokens:
    height, width = draw(st.integers(1, 5)), draw(st.integers(1, 5))
    codebook = draw(st.integers(1, 1001) | st.integers(1002, 40000))
    cells = height * width
    ids = draw(st.lists(st.integers(0, codebook - 1), min_size=cells, max_size=cells))
    return Tokens(height, width, codebook, tuple(ids))


def z_strategy(label) -> st.SearchStrategy:
    return st.fixed_dictionaries(
        {},
        optional={
            "description": a_description(label),
            "boxes": st.lists(a_box(label), min_size=1, max_size=4).map(Boxes),
            "blobs": st.lists(a_blob(label), min_size=1, max_size=4).map(Blobs),
            "tokens": some_tokens(),
            "palette": a_palette(),
        },
    )


@pytest.fixture(scope="session")
def any_z() -> st.SearchStrategy:
    """z of any subset of kinds, with hostile labels and descriptions."""
    return z_strategy(labels)


@pytest.fixture(scope="session")
def plain_z() -> st.SearchStrategy:
    """z of any subset of kinds, with labels and descriptions of five plain words."""
    return z_strategy(plain_labels)


@pytest.fixture(scope="session")
def hostile_labels() -> list[str]:
    return HOSTILE


@pytest.fixture(scope="session")
def byte_tokenizer():
    """The tiny tokenizer of a prior trained from scratch."""
    return train_tokenizer(CAPTIONS * 10, 1500)


@pytest.fixture(scope="session")
def bare_t5_tokenizer():
    """A T5 tokenizer with a SentencePiece vocabulary and its real NFKC normaliser."""
    import sentencepiece
    from transformers import T5Tokenizer

    ascii_text = string.digits + string.ascii_letters + string.punctuation
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter([*CAPTIONS * 10, *ascii_text, ascii_text]),
        model_writer=model,
        vocab_size=160,
        hard_vocab_limit=False,
        character_coverage=1.0,
        normalization_rule_name="nmt_nfkc",
        pad_id=0,
        eos_id=1,
        unk_id=2,
        bos_id=-1,
        minloglevel=2,
    )
    pieces = sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())
    # ModelProto.normalizer_spec is field 3, NormalizerSpec.precompiled_charsmap field 2.
    charsmap = dict(messages(dict(messages(model.getvalue()))[3]))[2]
    return T5Tokenizer(
        vocab=[(pieces.id_to_piece(i), pieces.get_score(i)) for i in range(len(pieces))],
        _spm_precompiled_charsmap=charsmap,
        extra_ids=10,
    )


@pytest.fixture(scope="session")
def t5_tokenizer(bare_t5_tokenizer):
    """The same with the tokens of z."""
    import copy

    tokenizer = copy.deepcopy(bare_t5_tokenizer)
    add_special_tokens(tokenizer)
    return tokenizer


@pytest.fixture(scope="session", params=["byte_tokenizer", "t5_tokenizer"])
def tokenizer(request):
    return request.getfixturevalue(request.param)


def messages(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield number and value of a protobuf message's length-delimited fields."""
    stream = io.BytesIO(data)

    def varint() -> int:
        value = shift = 0
        while True:
            byte = stream.read(1)[0]
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value

    while stream.tell() < len(data):
        tag = varint()
        match tag & 7:
            case 0:
                varint()
            case 1:
                stream.read(8)
            case 2:
                yield tag >> 3, stream.read(varint())
            case 5:
                stream.read(4)

"""Description: a dense text with the details that the caption leaves open."""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from pipelines.latents.base import Latent
from pipelines.latents.grammar.text import TextGrammar
from pipelines.latents.overlays import draw_text
from pipelines.latents.text import SENTENCE_MARKS, LatentError, escape

if TYPE_CHECKING:
    from pipelines.latents.grammar.alphabet import Alphabet

MAX_CHARACTERS = 1000
"""About 160 English words; the paper's descriptions have 50 to 80."""

_PLAIN = str.maketrans({"‘": "'", "’": "'", "“": '"', "”": '"', "–": "-", "—": " - ", "…": "..."})
_WRITTEN = frozenset(
    "%" + "".join(c for c in map(chr, range(33, 127)) if escape(c, SENTENCE_MARKS) == c)
)
_ESCAPES = re.compile(r"(?:%[0-9A-Fa-f]{2})+")
_REPLACEMENT = "\ufffd"


@dataclass(frozen=True)
class Description(Latent):
    """Free text: setting, colours, light, composition, style (Kaleido, appendix A).

    The text is normalised and validated on construction: Unicode NFC, single spaces, and ASCII in
    place of typographic quotes, dashes and ellipses, each of which would cost nine characters in z.

    A picture may have several, of which training draws one in each epoch; everything else reads the
    first.

    Attributes:
        text: 1 to MAX_CHARACTERS characters, without control characters.
        others: Further texts of the same picture, each with its weight.
        weight: Weight of the first text, which matters only beside others.

    Raises:
        LatentError: If a text is blank or too long, or contains control characters, or a weight is
            not above 0.
    """

    text: str
    others: tuple[tuple[str, float], ...] = ()
    weight: float = 1.0

    kind = "description"
    version = 1

    @classmethod
    def statistics(cls, latents: Sequence[Self]) -> dict[str, list[Any]]:
        """Return the ``longest`` text as it stands in z."""
        texts = (
            escape(text, SENTENCE_MARKS) for latent in latents for text, _ in latent.weighted()
        )
        return {"longest": sorted(texts, key=len)[-1:]}

    def __post_init__(self) -> None:
        """Normalise the texts and validate them."""
        if isinstance(self.text, str):
            object.__setattr__(self, "text", _fold(self.text))
        if self.others:
            folded = tuple((_fold(text), weight) for text, weight in self.others)
            object.__setattr__(self, "others", folded)
        self.validate()

    def validate(self) -> None:
        """Raise LatentError if a text or a weight is not what it must be."""
        for text, weight in self.weighted():
            _check_text(text)
            if not 0 < weight < math.inf:
                raise LatentError(self.kind, f"{weight!r} is no weight above 0.")

    def weighted(self) -> list[tuple[str, float]]:
        """Return all texts with their weights."""
        return [(self.text, self.weight), *self.others]

    def drawn(self, share: float) -> Description:
        """Return one of the texts, by weight.

        Args:
            share: In [0, 1): a uniform one gives each text as often as its weight says.
        """
        if not self.others:
            return self
        texts, weights = zip(*self.weighted(), strict=True)
        place = np.searchsorted(np.cumsum(weights) / sum(weights), share, side="right")
        return Description(texts[min(int(place), len(texts) - 1)])

    def readable(self) -> str:
        """Return the text as it is."""
        return self.text

    def to_text(self) -> str:
        """Return the text with everything but letters, digits and punctuation percent-encoded.

        Labels escape punctuation too, because separators delimit them. Sentences contain it at
        every clause, where an escape would cost three tokens instead of one; and a pretrained prior
        knows the meaning of a bracket, but not of ``%28``.
        """
        return escape(self.text, SENTENCE_MARKS)

    @classmethod
    def from_text(cls, text: str) -> Self:
        """Parse `to_text`'s form or typed text.

        Every text that is not blank or too long is accepted, so the grammar need not know UTF-8:
        escapes that do not encode a printable character become U+FFFD.
        """
        return cls(_ESCAPES.sub(_unescape, text))

    def to_bytes(self) -> bytes:
        """Serialise to JSON: kind, version and the text, and others if there are any."""
        if not self.others:
            return self.pack(text=self.text)
        return self.pack(text=self.text, weight=self.weight, others=self.others)

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Parse the output of `to_bytes`.

        Raises:
            LatentError: If the bytes are of another kind or version, or break the kind's rules.
        """
        if b'"others":' not in data:  # no text holds this, since quotes in texts are escaped
            return cls(*cls.unpack(data, "text"))
        text, weight, others = cls.unpack(data, "text", "weight", "others")
        match weight, others:
            case int() | float(), [*pairs] if all(map(_is_weighted, pairs)):
                return cls(text, tuple((str(t), float(w)) for t, w in pairs), float(weight))
        raise LatentError(cls.kind, "its other texts are not texts with weights.")

    @classmethod
    def grammar(cls, alphabet: Alphabet, end: int) -> TextGrammar:
        """Return the automaton of any text of the characters that `to_text` writes.

        Unescaping never lengthens a text, so limiting the escaped text limits the parsed one.
        """
        return TextGrammar(alphabet, end, _WRITTEN, MAX_CHARACTERS)

    def draw(self, image: np.ndarray) -> np.ndarray:
        """Write the text over the lower part of an image and return a new array."""
        return draw_text(image, self.text)


def _check_text(text: object) -> None:
    """Raise LatentError if a text is blank or too long, or contains control characters."""
    kind = Description.kind
    if not isinstance(text, str) or not text:
        raise LatentError(kind, f"{text!r} is not a text.")
    if len(text) > MAX_CHARACTERS:
        raise LatentError(
            kind,
            f"it has {len(text)} characters; {MAX_CHARACTERS} are allowed.",
            "Ask for 50 to 80 words.",
        )
    for char in text:
        if unicodedata.category(char) in ("Cc", "Cs"):
            raise LatentError(kind, f"it contains {char!r}, a control character or lone surrogate.")


def _is_weighted(pair: object) -> bool:
    match pair:
        case [str(), int() | float()]:
            return True
    return False


def _fold(text: str) -> str:
    """Normalise a text; the result may be empty."""
    return " ".join(unicodedata.normalize("NFC", text.translate(_PLAIN)).split())


def _unescape(match: re.Match[str]) -> str:
    """Decode a run of ``%XX`` as UTF-8; bytes that are no printable text become U+FFFD."""
    decoded = bytes.fromhex(match[0].replace("%", "")).decode("utf-8", errors="replace")
    return "".join(
        _REPLACEMENT if char.isspace() or unicodedata.category(char) == "Cc" else char
        for char in decoded
    )

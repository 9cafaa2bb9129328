"""Description: a dense text with the details that the caption leaves open."""

from __future__ import annotations

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

    Attributes:
        text: 1 to MAX_CHARACTERS characters, without control characters.

    Raises:
        LatentError: If the text is blank or too long, or contains control characters.
    """

    text: str

    kind = "description"
    version = 1

    @classmethod
    def statistics(cls, latents: Sequence[Self]) -> dict[str, list[Any]]:
        """Return the ``longest`` text as it stands in z."""
        return {"longest": sorted((latent.to_text() for latent in latents), key=len)[-1:]}

    def __post_init__(self) -> None:
        """Normalise the text and validate it."""
        if isinstance(self.text, str):
            object.__setattr__(self, "text", _fold(self.text))
        self.validate()

    def validate(self) -> None:
        """Raise LatentError if the text is blank or too long, or contains control characters."""
        if not isinstance(self.text, str) or not self.text:
            raise LatentError(self.kind, f"{self.text!r} is not a text.")
        if len(self.text) > MAX_CHARACTERS:
            raise LatentError(
                self.kind,
                f"it has {len(self.text)} characters; {MAX_CHARACTERS} are allowed.",
                "Ask for 50 to 80 words.",
            )
        for char in self.text:
            if unicodedata.category(char) in ("Cc", "Cs"):
                raise LatentError(
                    self.kind, f"it contains {char!r}, a control character or lone surrogate."
                )

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
        """Serialise to JSON: kind, version and the text."""
        return self.pack(text=self.text)

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Parse the output of `to_bytes`.

        Raises:
            LatentError: If the bytes are of another kind or version, or break the kind's rules.
        """
        return cls(*cls.unpack(data, "text"))

    @classmethod
    def grammar(cls, alphabet: Alphabet, end: int) -> TextGrammar:
        """Return the automaton of any text of the characters that `to_text` writes.

        Unescaping never lengthens a text, so limiting the escaped text limits the parsed one.
        """
        return TextGrammar(alphabet, end, _WRITTEN, MAX_CHARACTERS)

    def draw(self, image: np.ndarray) -> np.ndarray:
        """Write the text over the lower part of an image and return a new array."""
        return draw_text(image, self.text)


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

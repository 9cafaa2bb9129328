"""Description: dense text that says what the caption left open."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from pipelines.latents.base import SENTENCE_MARKS, Latent, LatentError, escape
from pipelines.latents.grammar.text import TextGrammar
from pipelines.latents.overlays import draw_text

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

    Constructing one brings the text to its canonical form and validates it: Unicode NFC, runs of
    white space as one space, typographic quotes, dashes and dots as ASCII, which captioners write
    for no reason and which would cost nine characters each in z.

    Attributes:
        text: 1 to MAX_CHARACTERS characters, none of them a control character.

    Raises:
        LatentError: If the text is blank, too long, or holds what no text holds.
    """

    text: str

    kind = "description"
    version = 1
    changes = {
        "replace": ("with", '{"replace": words, "with": words}'),
        "write": (None, '{"write": text}'),
    }

    def __post_init__(self) -> None:
        """Bring the text to its canonical form and validate it."""
        if isinstance(self.text, str):
            object.__setattr__(self, "text", _fold(self.text))
        self.validate()

    def validate(self) -> None:
        """Raise LatentError if the text is blank or too long, or holds what no text holds."""
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
                    self.kind, f"it holds {char!r}, a control character or half a surrogate pair."
                )

    def to_text(self) -> str:
        """Write the text, with all but letters, digits and the sentence's marks percent-encoded.

        Labels encode these marks as well, because they lie between separators. A sentence has them
        at every clause and each would cost three tokens instead of one; and a pretrained prior
        knows what a comma or a bracket means, but not what ``%28`` does.
        """
        return escape(self.text, SENTENCE_MARKS)

    @classmethod
    def from_text(cls, text: str) -> Self:
        """Read `to_text`'s form, or what a person would type.

        Every text that is not blank and not too long can be read, so that the grammar need not
        know UTF-8: escapes that write no printable character read as U+FFFD.
        """
        return cls(_ESCAPES.sub(_unescape, text))

    def to_bytes(self) -> bytes:
        """Encode as JSON: kind, version and the text."""
        return self.pack(text=self.text)

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Decode `to_bytes`.

        Raises:
            LatentError: If the bytes are not of this kind and version, or break its rules.
        """
        return cls(*cls.unpack(data, "text"))

    @classmethod
    def grammar(cls, alphabet: Alphabet, end: int) -> TextGrammar:
        """Any text of the characters that `to_text` writes.

        No escape reads as more characters than it has, so what is short enough as written is
        short enough as read.
        """
        return TextGrammar(alphabet, end, _WRITTEN, MAX_CHARACTERS)

    def draw(self, image: np.ndarray) -> np.ndarray:
        """Write the text over the lower part of a uint8 (height, width, 3) image; a new array."""
        return draw_text(image, self.text)

    def edit(self, change: Mapping[str, Any]) -> Self:
        """Return a changed copy: words replaced wherever they occur, or another text.

        Words are whole words, in the case given; replacing them with nothing removes them.

        Raises:
            LatentError: If the change is unknown, the words do not occur, or the result is not
                valid.
        """
        verb, target, argument = self.read_change(change)
        if verb == "write":
            return replace(self, text=target)
        if not isinstance(target, str) or not isinstance(argument, str):
            raise self.bad_change(f"{target!r} and {argument!r} are not both words.")
        words = _fold(target)
        # A word's edge is where a letter meets none; beside a comma there is nothing to keep apart.
        edges = rf"(?:(?<!\w)|(?!\w)){re.escape(words)}(?:(?!\w)|(?<!\w))"
        text, count = re.subn(edges, lambda match: argument, self.text)
        if not words or not count:
            raise self.bad_change(f"{target!r} does not occur.")
        return replace(self, text=text)


def _fold(text: str) -> str:
    """Return the canonical form; it may be empty."""
    return " ".join(unicodedata.normalize("NFC", text.translate(_PLAIN)).split())


def _unescape(match: re.Match[str]) -> str:
    """Decode a run of ``%XX`` as UTF-8; what cannot be text becomes U+FFFD, as in decoding."""
    decoded = bytes.fromhex(match[0].replace("%", "")).decode("utf-8", errors="replace")
    return "".join(
        _REPLACEMENT if char.isspace() or unicodedata.category(char) == "Cc" else char
        for char in decoded
    )

"""Latent: what lies between a caption and an image, as plain values that a person can read.

Numbers live on one grid: integers from 0 to 1000. Written as text a number is ``<n>``, which is one
added token of the prior's vocabulary, so four coordinates cost four tokens and captions keep their
own digits. Everything else is printable ASCII; other characters are percent-encoded (`escape`),
because SentencePiece folds white space and drops what it has never seen.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Self
from urllib.parse import unquote

from pipelines.core.errors import KaleidoError

if TYPE_CHECKING:
    import numpy as np

GRID = 1000
"""Largest coordinate; the grid has GRID + 1 values."""

_SAFE = re.compile(r"[A-Za-z0-9.,'-]")


class LatentError(KaleidoError):
    """A latent's values or its text break the rules of its kind."""


class Latent(ABC):
    """One kind of z. Subclasses are frozen dataclasses of plain values.

    Class attributes:
        kind: The kind's name: a folder under ``latents/`` and a marker in the sequence z.
        version: Raised when the byte or text form changes.
    """

    kind: ClassVar[str]
    version: ClassVar[int]

    @abstractmethod
    def validate(self) -> None:
        """Raise LatentError unless the values obey the kind's rules."""

    @abstractmethod
    def to_text(self) -> str:
        """Write z as the text that the prior learns: escaped, without the kind's marker."""

    @classmethod
    @abstractmethod
    def from_text(cls, text: str) -> Self:
        """Read what `to_text` writes; white space around tokens does not matter.

        Raises:
            LatentError: If the text does not follow the kind's grammar.
        """

    @abstractmethod
    def to_bytes(self) -> bytes:
        """Encode for a shard, as JSON: equal values give equal bytes."""

    @classmethod
    @abstractmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Decode `to_bytes`.

        Raises:
            LatentError: If the bytes are not of this kind and version, or break its rules.
        """

    @abstractmethod
    def draw(self, image: np.ndarray) -> np.ndarray:
        """Draw z over an image: uint8 (height, width, 3) in, a new array of the same shape out."""

    @abstractmethod
    def edit(self, change: Mapping[str, Any]) -> Self:
        """Return a changed copy; each kind documents its changes.

        Raises:
            LatentError: If the change is unknown or its result is not valid.
        """


def escape(text: str) -> str:
    """Percent-encode all but safe ASCII, so that any tokenizer gives the text back.

    Single inner spaces stay; other white space, brackets, separators and non-ASCII are encoded.
    """
    out = []
    for index, char in enumerate(text):
        inner = 0 < index < len(text) - 1 and text[index - 1] != " "
        if _SAFE.match(char) or (char == " " and inner):
            out.append(char)
        else:
            out.extend(f"%{byte:02X}" for byte in char.encode("utf-8", "surrogatepass"))
    return "".join(out)


def unescape(text: str) -> str:
    """Undo `escape`."""
    return unquote(text, errors="surrogatepass")


def number(value: int) -> str:
    """Write a grid number as its token, ``<n>``."""
    return f"<{value}>"


def check_grid(kind: str, values: Sequence[int]) -> None:
    """Raise LatentError unless all values are integers in [0, GRID]."""
    for value in values:
        if type(value) is not int or not 0 <= value <= GRID:
            raise LatentError(kind, f"{value!r} is not an integer from 0 to {GRID}.")

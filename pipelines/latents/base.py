"""Latent: what lies between a caption and an image, as plain values that a person can read.

Numbers live on one grid: integers from 0 to 1000. Written as text a number is ``<n>``, which is one
added token of the prior's vocabulary, so four coordinates cost four tokens and captions keep their
own digits. Everything else is printable ASCII; other characters are percent-encoded (`escape`),
because SentencePiece folds white space and drops what it has never seen.
"""

from __future__ import annotations

import json
import string
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Self
from urllib.parse import unquote

from pipelines.core.errors import KaleidoError

if TYPE_CHECKING:
    import numpy as np

    from pipelines.latents.grammar.alphabet import Alphabet, PartGrammar

GRID = 1000
"""Largest coordinate; the grid has GRID + 1 values."""

SEPARATOR = "<;>"
"""Stands between items. An added token of its own, so that captions keep their semicolons."""

Place = tuple[float, float, float, float]
"""Left, top, right and bottom of a rectangle, in units of the image's side."""

Tint = tuple[float, float, float, float]
"""A colour's red, green and blue from -1 to 1, and its share of the picture, above 0."""

NO_TINT: Tint = (0.0, 0.0, 0.0, 0.0)
"""That of a token that speaks of no colour."""

Word = int | str
"""A token of z as the kinds read it: a number, `SEPARATOR`, or "" for any other."""

SENTENCE_MARKS = '!?:;"()/&'
"""Marks that stay as they are in sentences; labels, which lie between separators, encode them."""

_SAFE = frozenset(string.ascii_letters + string.digits + ".,'-")


class LatentError(KaleidoError):
    """A latent's values or its text break the rules of its kind."""

    default_code = "bad-latent"


class Latent(ABC):
    """One kind of z. Subclasses are frozen dataclasses of plain values.

    Class attributes:
        kind: The kind's name: a folder under ``latents/`` and a marker in the sequence z.
        version: Raised when the byte or text form changes.
        changes: What `edit` accepts: the change's verb, its argument's name or None, its form.
    """

    kind: ClassVar[str]
    version: ClassVar[int]
    changes: ClassVar[Mapping[str, tuple[str | None, str]]]

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

    @classmethod
    @abstractmethod
    def grammar(cls, alphabet: Alphabet, end: int) -> PartGrammar:
        """Return the automaton of this kind's text over token ids, for drawing z.

        Args:
            alphabet: The tokenizer's ids, and what narrows z.
            end: The id that follows this kind's part: the next marker, or the end of z.
        """

    @classmethod
    def places(cls, words: Sequence[Word]) -> list[Place | None]:
        """Return the place of each token of this kind's part of z, its marker left out.

        A part that does not parse has none, as has every token of a kind without places.
        """
        return [None] * len(words)

    @classmethod
    def tints(cls, words: Sequence[Word]) -> list[Tint]:
        """Return the colour that each token of this kind's part of z speaks of, like `places`."""
        return [NO_TINT] * len(words)

    @abstractmethod
    def draw(self, image: np.ndarray) -> np.ndarray:
        """Draw z over an image: uint8 (height, width, 3) in, a new array of the same shape out."""

    @abstractmethod
    def edit(self, change: Mapping[str, Any]) -> Self:
        """Return a changed copy; `changes` lists the forms.

        Raises:
            LatentError: If the change is unknown or its result is not valid.
        """

    def pack(self, **values: Any) -> bytes:
        """Encode values as JSON, with kind and version."""
        form = {"kind": self.kind, "version": self.version, **values}
        return json.dumps(form, separators=(",", ":")).encode("ascii")

    @classmethod
    def unpack(cls, data: bytes, *names: str) -> list[Any]:
        """Decode `pack`; the values of these names, which are all that there may be.

        Raises:
            LatentError: If the bytes are not JSON, or not of this kind, version and names.
        """
        try:
            form = json.loads(data)
        except (ValueError, RecursionError) as error:
            raise LatentError(cls.kind, f"the bytes are not JSON ({error}).") from error
        match form:
            case {"kind": cls.kind, "version": cls.version, **values} if set(values) == set(names):
                return [values[name] for name in names]
        raise LatentError(cls.kind, f"the bytes do not hold {cls.kind} of version {cls.version}.")

    def read_change(self, change: Mapping[str, Any]) -> tuple[str, Any, Any]:
        """Split an edit into verb, target and argument (None if the verb takes none).

        Raises:
            LatentError: Unless the change has exactly one known verb and that verb's argument.
        """
        for verb, (argument, _) in self.changes.items():
            if set(change) == {verb} | ({argument} if argument else set()):
                return verb, change[verb], change[argument] if argument else None
        raise self.bad_change(f"the change {dict(change)!r} is not known.")

    def bad_change(self, why: str) -> LatentError:
        """Return an error that names every change this kind accepts."""
        forms = ", ".join(form for _, form in self.changes.values())
        return LatentError(self.kind, why, f"Allowed: {forms}.")

    def integers(self, values: Any, count: int) -> tuple[int, ...]:
        """Return `values` as a tuple of `count` integers, or raise LatentError."""
        if isinstance(values, list | tuple) and len(values) == count:
            numbers = tuple(values)
            if all(type(value) is int for value in numbers):
                return numbers
        raise self.bad_change(f"{values!r} is not a list of {count} integers.")


def escape(text: str, more_safe: str = "") -> str:
    """Percent-encode all but safe ASCII, so that any tokenizer gives the text back.

    Single inner spaces stay; other white space, brackets, separators and non-ASCII are encoded.

    Args:
        text: Any text.
        more_safe: ASCII characters that stay, beside letters, digits and ``.,'-``.
    """
    safe = _SAFE.union(more_safe)
    out = []
    for index, char in enumerate(text):
        inner = 0 < index < len(text) - 1 and text[index - 1] != " "
        if char in safe or (char == " " and inner):
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

"""Latent: the interface of the kinds of z, the readable layer between a caption and an image."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Self

from pipelines.latents.text import LatentError

if TYPE_CHECKING:
    import numpy as np

    from pipelines.latents.grammar.alphabet import Alphabet
    from pipelines.latents.grammar.part import PartGrammar

Rect = tuple[float, float, float, float]
"""Left, top, right and bottom edge, in units of the image's side."""

ColourWeight = tuple[float, float, float, float]
"""Red, green and blue of an sRGB colour, each in [-1, 1], and its share of the image in (0, 1]; 1
for the colour of an element."""

NO_COLOUR: ColourWeight = (0.0, 0.0, 0.0, 0.0)
"""The value of a token that refers to no colour."""

Symbol = int | str
"""A token as the kinds read it: a grid number, `SEPARATOR`, or "" for a word of text."""


class Stored(ABC):
    """What a stage computes of a record and a shard keeps. Subclasses are frozen dataclasses.

    Class attributes:
        kind: Name of the kind; also its folder under ``latents/``.
        version: Incremented when the byte or text form changes.
        suffix: Ending of its members in a shard.
    """

    kind: ClassVar[str]
    version: ClassVar[int]
    suffix: ClassVar[str] = "json"

    @abstractmethod
    def validate(self) -> None:
        """Raise LatentError if a value breaks the rules of the kind."""

    @abstractmethod
    def to_bytes(self) -> bytes:
        """Serialise for a shard; equal values give equal bytes."""

    @classmethod
    @abstractmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Parse the output of `to_bytes`.

        Raises:
            LatentError: If the bytes are of another kind or version, or break the kind's rules.
        """

    @classmethod
    def statistics(cls, latents: Sequence[Self]) -> dict[str, list[Any]]:
        """Return what training must know of all latents of a shard, as lists of JSON values.

        Lists of equal name are united over shards.
        """
        return {}


class Latent(Stored):
    """One kind of z. Subclasses are frozen dataclasses of plain values.

    Class attributes:
        kind: Also its marker in z.
        placed_by: Kinds of which the first that is in z says where this kind's items are: each has
            the region of the item with its label, in the same order (see `alignment`).
    """

    placed_by: ClassVar[tuple[str, ...]] = ()

    @abstractmethod
    def to_text(self) -> str:
        """Return the text that the prior learns: escaped, without the kind's marker."""

    def readable(self) -> str:
        """Return the latent on one line for people to read."""
        return self.to_text()

    @classmethod
    @abstractmethod
    def from_text(cls, text: str) -> Self:
        """Parse the output of `to_text`; white space around tokens is ignored.

        Raises:
            LatentError: If the text does not follow the kind's grammar.
        """

    @classmethod
    @abstractmethod
    def grammar(cls, alphabet: Alphabet, end: int) -> PartGrammar:
        """Return the automaton over token ids from which this kind's part of z is sampled.

        Args:
            alphabet: Token ids, and restrictions learned from the training data.
            end: The id that ends the part: the next marker, or the end of z.
        """

    @classmethod
    def token_rects(cls, symbols: Sequence[Symbol]) -> list[Rect | None]:
        """Return the image region that each token of a part refers to, or None.

        Args:
            symbols: The part's tokens without its marker. A part that does not parse has no
                regions.
        """
        return [None] * len(symbols)

    @classmethod
    def token_colours(cls, symbols: Sequence[Symbol]) -> list[ColourWeight]:
        """Return the colour that each token of a part refers to, or `NO_COLOUR`."""
        return [NO_COLOUR] * len(symbols)

    def crop(self, region: Rect) -> Self | None:
        """Return the latent of a part of the picture, or None if nothing of it remains.

        Kinds that refer to places override this; by default a latent is of every part.

        Args:
            region: The part, in units of the picture's sides.

        Raises:
            LatentError: If the kind cannot be cropped.
        """
        return self

    @abstractmethod
    def draw(self, image: np.ndarray) -> np.ndarray:
        """Draw z over an image, uint8 (height, width, 3), and return a new array."""

    def pack(self, **values: Any) -> bytes:
        """Serialise values to JSON, together with kind and version."""
        form = {"kind": self.kind, "version": self.version, **values}
        return json.dumps(form, separators=(",", ":")).encode("ascii")

    @classmethod
    def unpack(cls, data: bytes, *names: str) -> list[Any]:
        """Parse the output of `pack` and return the values of exactly these names.

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
        raise LatentError(cls.kind, f"the bytes are not {cls.kind} of version {cls.version}.")

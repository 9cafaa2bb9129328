"""Base states: what a base's text encoders make of a caption, so that training need not."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, Self

from pipelines.latents.base import Stored
from pipelines.latents.text import LatentError


@dataclass(frozen=True)
class BaseStates(Stored):
    """The row of a condition: named tensors, as the base computes them.

    Attributes:
        data: They, as safetensors, which hold bf16 where NumPy knows none.
    """

    data: bytes

    kind: ClassVar[str] = "base-states"
    version: ClassVar[int] = 1
    suffix: ClassVar[str] = "safetensors"

    def names(self) -> Iterator[str]:
        """Yield the names of the tensors.

        Raises:
            LatentError: If the bytes are no safetensors.
        """
        from safetensors import SafetensorError, deserialize

        try:
            yield from (name for name, _ in deserialize(self.data))
        except SafetensorError as error:
            raise LatentError(self.kind, f"the bytes are no safetensors ({error}).") from error

    def validate(self) -> None:
        """Raise LatentError unless there are tensors."""
        if not list(self.names()):
            raise LatentError(self.kind, "there is no tensor.")

    def to_bytes(self) -> bytes:
        """Return the safetensors."""
        return self.data

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Parse the output of `to_bytes`.

        Raises:
            LatentError: If the bytes are something else.
        """
        found = cls(data)
        found.validate()
        return found

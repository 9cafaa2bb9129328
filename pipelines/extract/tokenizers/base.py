"""The interface of visual tokenizers: networks that write a picture as ids of a codebook."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from pipelines.extract.model_ref import ModelRef

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True)
class TokenizerRef(ModelRef):
    """A visual tokenizer that is chosen but not loaded.

    Its family is ``own`` (trained by `kaleido train tokenizer`), ``diffusers``, ``chameleon``,
    ``emu3``, ``janus``, ``titok`` or ``llamagen``.

    Attributes:
        config: The configuration of the tokenizer, or of the checkpoint that it is a part of.
        from_zero: Whether a diffusers pipeline feeds it values from 0 to 1, not from -1 to 1.
    """

    config: Mapping[str, Any]
    from_zero: bool = False


class VisualTokenizer(Protocol):
    """A loaded tokenizer."""

    @property
    def codebook_size(self) -> int:
        """Entries of its codebook; ids are below it."""

    def refusal(self, height: int, width: int) -> str:
        """Why a picture of this size in pixels cannot be written; empty if it can."""

    def encode(self, images: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Write pictures, uint8 (h, w, 3) that are not refused, as ids: int64 (rows, columns)."""

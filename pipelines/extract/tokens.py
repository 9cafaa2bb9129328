"""Tokens: each picture as a grid of ids of the workspace's visual tokenizer."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from pipelines.core.record import Record
from pipelines.core.stage import Failed, Ok, Outcome, Stage, StageSpec
from pipelines.latents.tokens import Tokens
from pipelines.models.pixels import to_tensor
from pipelines.models.tokenizer import Tokenizer


class TokensStage(Stage):
    """pixels -> `Tokens`.

    Args:
        folder: A trained tokenizer's folder.

    Raises:
        InputMissing: If the folder holds no tokenizer.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._tokenizer: Tokenizer | None = None
        self.spec = StageSpec(
            name="tokens-vq",
            version=1,
            output="tokens",
            options={"tokenizer": Tokenizer.load(folder).identity},
        )

    def setup(self) -> None:
        """Load the tokenizer."""
        self._tokenizer = Tokenizer.load(self._folder)

    def __call__(self, records: Sequence[Record]) -> list[Outcome]:
        """Write each record's tokens; a picture of another size than the tokenizer's has failed."""
        if self._tokenizer is None:
            raise RuntimeError("setup() comes before the first batch")
        side, codebook = self._tokenizer.image_size, self._tokenizer.codebook_size
        fits = [record.pixels.shape[:2] == (side, side) for record in records]
        kept = [record.pixels for record, fit in zip(records, fits, strict=True) if fit]
        grids = iter(self._tokenizer.encode(to_tensor(np.stack(kept))).tolist() if kept else [])
        return [
            Ok(_tokens(next(grids), codebook)) if fit else _wrong_size(record, side)
            for record, fit in zip(records, fits, strict=True)
        ]


def _tokens(grid: list[list[int]], codebook: int) -> Tokens:
    return Tokens(len(grid), len(grid[0]), codebook, tuple(i for row in grid for i in row))


def _wrong_size(record: Record, side: int) -> Outcome:
    height, width = record.pixels.shape[:2]
    return Failed(f"the tokenizer reads {side} x {side} pixels; this image has {width} x {height}")

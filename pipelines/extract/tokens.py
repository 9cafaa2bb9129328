"""Tokens: each picture as a grid of ids of a visual tokenizer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from pipelines.core.record import Record
from pipelines.core.stage import Failed, Ok, Outcome, Stage, StageSpec
from pipelines.extract.tokenizers.model import VisualModel
from pipelines.latents.tokens import Tokens

if TYPE_CHECKING:
    from pipelines.extract.tokenizers.base import VisualTokenizer


class TokensStage(Stage):
    """pixels -> `Tokens`.

    Args:
        model: A visual tokenizer.
    """

    def __init__(self, model: VisualModel) -> None:
        self._model = model
        self._tokenizer: VisualTokenizer | None = None
        self.spec = StageSpec(
            name="tokens-vq" if model.family == "own" else f"tokens-{model.family}",
            version=1,
            output="tokens",
            options={"tokenizer": model.identity},
        )

    def setup(self) -> None:
        """Load the tokenizer."""
        self._tokenizer = self._model.load()

    def __call__(self, records: Sequence[Record]) -> list[Outcome]:
        """Write each record's tokens; a picture of a size that cannot be written has failed."""
        if self._tokenizer is None:
            raise RuntimeError("setup() comes before the first batch")
        refusals = [self._tokenizer.refusal(*record.pixels.shape[:2]) for record in records]
        fit = [record.pixels for record, why in zip(records, refusals, strict=True) if not why]
        grids = iter(self._tokenizer.encode(fit) if fit else [])
        codebook = self._tokenizer.codebook_size
        return [
            Failed(why) if why else Ok(Tokens.of_grid(next(grids), codebook)) for why in refusals
        ]

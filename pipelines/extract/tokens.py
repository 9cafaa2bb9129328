"""Tokens: each picture as a grid of a visual tokenizer's ids."""

from __future__ import annotations

from collections.abc import Sequence

from pipelines.core.record import Record
from pipelines.core.stage import NETWORK, Failed, Ok, Outcome, Stage, StageSpec
from pipelines.extract.tokenizers.base import TokenizerRef, VisualTokenizer
from pipelines.latents.tokens import Tokens


class TokensStage(Stage):
    """pixels -> `Tokens`.

    Args:
        ref: A visual tokenizer.
    """

    def __init__(self, ref: TokenizerRef) -> None:
        self._ref = ref
        self._tokenizer: VisualTokenizer | None = None
        self.spec = StageSpec(
            name="tokens-vq" if ref.family == "own" else f"tokens-{ref.family}",
            version=1,
            output="tokens",
            options={"tokenizer": ref.identity},
            resources=NETWORK,
        )

    def setup(self) -> None:
        """Load the tokenizer."""
        from pipelines.extract.tokenizers.loading import load_tokenizer

        self._tokenizer = load_tokenizer(self._ref)

    def __call__(self, records: Sequence[Record]) -> list[Outcome]:
        """Encode each record's picture; one of a size that the tokenizer cannot take has failed."""
        if self._tokenizer is None:
            raise RuntimeError("setup() comes before the first batch")
        refusals = [self._tokenizer.refusal(*record.pixels.shape[:2]) for record in records]
        fit = [record.pixels for record, why in zip(records, refusals, strict=True) if not why]
        grids = iter(self._tokenizer.encode(fit) if fit else [])
        codebook = self._tokenizer.codebook_size
        return [
            Failed(why) if why else Ok(Tokens.of_grid(next(grids), codebook)) for why in refusals
        ]

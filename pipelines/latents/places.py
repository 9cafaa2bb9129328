"""Where in the picture each token of z speaks of: what ties a token to patches of the image."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from pipelines.latents.base import EVERYWHERE, GRID, SEPARATOR, Latent, Place, Word, number
from pipelines.latents.kinds import KINDS
from pipelines.latents.sequence import MARKERS

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast


class Places:
    """Finds the place of every token of z, as its kind says it (`Latent.places`).

    Args:
        tokenizer: One with the tokens of z.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerFast) -> None:
        vocabulary = tokenizer.get_vocab()
        self._words: dict[int, Word] = {vocabulary[number(n)]: n for n in range(GRID + 1)}
        self._words[vocabulary[SEPARATOR]] = SEPARATOR
        self._kinds = {vocabulary[MARKERS[kind]]: cls for kind, cls in KINDS.items()}
        self._end: int = tokenizer.eos_token_id

    def __call__(self, ids: Sequence[int]) -> list[Place]:
        """The place of each token of one z.

        Args:
            ids: One row of token ids; what does not parse, markers and padding are `EVERYWHERE`.
        """
        places = [EVERYWHERE] * len(ids)
        kind: type[Latent] | None = None
        start = 0
        for index, token in enumerate([*ids, self._end]):
            if token not in self._kinds and token != self._end:
                continue
            if kind is not None:
                words = [self._words.get(token, "") for token in ids[start:index]]
                places[start:index] = kind.places(words)
            kind = self._kinds.get(token)
            start = index + 1
        return places

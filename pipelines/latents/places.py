"""Where in the picture each token of z speaks of: what ties a token to patches of the image."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from pipelines.latents.base import GRID, number
from pipelines.latents.items import SEPARATOR, ItemList
from pipelines.latents.kinds import KINDS
from pipelines.latents.sequence import MARKERS

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

Place = tuple[float, float, float, float]
"""Left, top, right and bottom of a rectangle, in units of the image's side."""

EVERYWHERE: Place = (0.0, 0.0, 1.0, 1.0)
"""The place of a token that speaks of the whole picture: a caption's, a palette's, a marker."""


class Places:
    """Finds the place of every token of z: that of the item to which it belongs.

    Args:
        tokenizer: One with the tokens of z.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerFast) -> None:
        vocabulary = tokenizer.get_vocab()
        self._values = {vocabulary[number(value)]: value for value in range(GRID + 1)}
        self._kinds = {
            vocabulary[MARKERS[kind]]: cls
            for kind, cls in KINDS.items()
            if issubclass(cls, ItemList)
        }
        self._ends = {
            *(vocabulary[marker] for marker in MARKERS.values()),
            vocabulary[SEPARATOR],
            tokenizer.eos_token_id,
        }

    def __call__(self, ids: Sequence[int]) -> list[Place]:
        """The place of each token of one z, an item's label and numbers alike.

        Args:
            ids: One row of token ids; what does not parse, and padding, is `EVERYWHERE`.
        """
        places = [EVERYWHERE] * len(ids)
        kind: type[ItemList] | None = None
        start = 0
        for index, token in enumerate(ids):
            if token not in self._ends:
                continue
            if kind is not None:
                values = [self._values[i] for i in ids[start:index] if i in self._values]
                if len(values) == len(kind.number_names):
                    place = kind.place(tuple(values))
                    places[start:index] = [place or EVERYWHERE] * (index - start)
            kind = self._kinds.get(token, kind)
            start = index + 1
        return places

"""Grounding: the image region and the colour that each token of z refers to."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, TypeVar

from pipelines.latents.base import NO_COLOUR, ColourWeight, Latent, Rect, Symbol
from pipelines.latents.registry import latent_class
from pipelines.latents.text import DEFAULT_ORDER, SEPARATOR, marker
from pipelines.latents.vocabulary import number_ids

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

ValueT = TypeVar("ValueT")


class Grounding:
    """Map the token ids of z to image regions and colours, as defined by each token's kind.

    Args:
        tokenizer: A tokenizer with the tokens of z.
        kinds: The kinds of z, if plug-ins add any.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerFast, kinds: Sequence[str] = ()) -> None:
        vocabulary = tokenizer.get_vocab()
        self._symbols: dict[int, Symbol] = {t: n for n, t in enumerate(number_ids(tokenizer))}
        self._symbols[vocabulary[SEPARATOR]] = SEPARATOR
        self._kinds = {
            vocabulary[marker(kind)]: latent_class(kind) for kind in (*DEFAULT_ORDER, *kinds)
        }
        self._end: int = tokenizer.eos_token_id

    def rects(self, ids: Sequence[int]) -> list[Rect | None]:
        """Return the region of each token of one z.

        Markers, padding and parts that do not parse have none.
        """
        return self._by_part(ids, None, lambda kind, symbols: kind.token_rects(symbols))

    def colours(self, ids: Sequence[int]) -> list[ColourWeight]:
        """Return the colour of each token of one z, `NO_COLOUR` where it has none."""
        return self._by_part(ids, NO_COLOUR, lambda kind, symbols: kind.token_colours(symbols))

    def are_words(self, ids: Sequence[int]) -> list[bool]:
        """Return for each token whether it belongs to text, such as a label or a description."""
        return [token not in self._symbols and token not in self._kinds for token in ids]

    def _by_part(
        self,
        ids: Sequence[int],
        nothing: ValueT,
        read: Callable[[type[Latent], list[Symbol]], list[ValueT]],
    ) -> list[ValueT]:
        """Split z into parts and let `read` give each token of a part its value."""
        values = [nothing] * len(ids)
        kind: type[Latent] | None = None
        start = 0
        for index, token in enumerate([*ids, self._end]):
            if token not in self._kinds and token != self._end:
                continue
            if kind is not None:
                symbols = [self._symbols.get(token, "") for token in ids[start:index]]
                values[start:index] = read(kind, symbols)
            kind = self._kinds.get(token)
            start = index + 1
        return values

"""Grounding: the image region and the colour that each token of z refers to."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, TypeVar

from pipelines.latents.alignment import aligned
from pipelines.latents.base import NO_COLOUR, ColourWeight, Latent, Rect, Symbol
from pipelines.latents.registry import latent_class
from pipelines.latents.text import SEPARATOR, SHIPPED_KINDS, marker
from pipelines.latents.vocabulary import number_ids

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

ValueT = TypeVar("ValueT")


class Grounding:
    """Map the token ids of z to image regions and colours, as defined by each token's kind.

    Args:
        tokenizer: A tokenizer with the tokens of z.
        kinds: The kinds of z.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerFast, kinds: Sequence[str] = ()) -> None:
        vocabulary = tokenizer.get_vocab()
        self._symbols: dict[int, Symbol] = {t: n for n, t in enumerate(number_ids(tokenizer))}
        self._symbols[vocabulary[SEPARATOR]] = SEPARATOR
        self._kinds = {
            vocabulary[marker(kind)]: latent_class(kind) for kind in (*SHIPPED_KINDS, *kinds)
        }
        self._end: int = tokenizer.eos_token_id

    def rects(self, ids: Sequence[int]) -> list[Rect | None]:
        """Return the region of each token of one z.

        Markers, padding and parts that do not parse have none. Kinds without places of their own
        take those of other kinds (`Latent.placed_by`).
        """
        rects = self._by_part(ids, None, lambda kind, symbols: kind.token_rects(symbols))
        self._place(ids, rects)
        return rects

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
        for kind, start, stop in self._parts(ids):
            values[start:stop] = read(kind, [self._symbols.get(t, "") for t in ids[start:stop]])
        return values

    def _parts(self, ids: Sequence[int]) -> Iterator[tuple[type[Latent], int, int]]:
        """Yield the kind of each part, the index after its marker, and that after its end."""
        kind: type[Latent] | None = None
        start = 0
        for index, token in enumerate([*ids, self._end]):
            if token not in self._kinds and token != self._end:
                continue
            if kind is not None:
                yield kind, start, index
            kind = self._kinds.get(token)
            start = index + 1

    def _place(self, ids: Sequence[int], rects: list[Rect | None]) -> None:
        """Give items of kinds without places those of the items that they follow."""
        parts = {kind.kind: (kind, start, stop) for kind, start, stop in self._parts(ids)}
        for kind, start, stop in parts.values():
            source = next((parts[name] for name in kind.placed_by if name in parts), None)
            if source is None:
                continue
            mine, others = self._items(ids, start, stop), self._items(ids, *source[1:])
            for i, j in aligned(mine, others, lambda one, other: one[0] == other[0]).items():
                part, rect = mine[i][1], rects[others[j][1].start]
                rects[part] = [rect] * (part.stop - part.start)

    def _items(
        self, ids: Sequence[int], start: int, stop: int
    ) -> list[tuple[tuple[int, ...], slice]]:
        """Split a part at separators: the ids of each item's label, and its place in z."""
        breaks = [i for i in range(start, stop) if self._symbols.get(ids[i]) == SEPARATOR]
        edges = zip([start, *(i + 1 for i in breaks)], [*breaks, stop], strict=True)
        found = [slice(first, last) for first, last in edges if first < last]
        return [(tuple(t for t in ids[part] if t not in self._symbols), part) for part in found]

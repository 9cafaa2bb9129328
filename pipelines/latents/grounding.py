"""Which place and which colour each token of z speaks of: what ties it to pixels of the image."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, TypeVar

from pipelines.latents.base import (
    NO_TINT,
    SEPARATOR,
    Latent,
    Place,
    Tint,
    Word,
)
from pipelines.latents.registry import latent_class
from pipelines.latents.sequence import DEFAULT_ORDER, marker, number_ids

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

ValueT = TypeVar("ValueT")


class Grounding:
    """Finds place and colour of every token of z, as its kind says them (`Latent.places`).

    Args:
        tokenizer: One with the tokens of z.
        kinds: Of plug-ins, that z may have beside Kaleido's own.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerFast, kinds: Sequence[str] = ()) -> None:
        vocabulary = tokenizer.get_vocab()
        self._values: dict[int, Word] = {token: n for n, token in enumerate(number_ids(tokenizer))}
        self._values[vocabulary[SEPARATOR]] = SEPARATOR
        self._kinds = {
            vocabulary[marker(kind)]: latent_class(kind) for kind in (*DEFAULT_ORDER, *kinds)
        }
        self._end: int = tokenizer.eos_token_id

    def __call__(self, ids: Sequence[int]) -> list[Place | None]:
        """The place of each token of one z.

        Args:
            ids: One row of token ids; what does not parse, markers and padding have no place.
        """
        return self._of_parts(ids, None, lambda kind, words: kind.places(words))

    def tints(self, ids: Sequence[int]) -> list[Tint]:
        """The colour that each token of one z speaks of, `NO_TINT` where it speaks of none."""
        return self._of_parts(ids, NO_TINT, lambda kind, words: kind.tints(words))

    def words(self, ids: Sequence[int]) -> list[bool]:
        """Whether each token is a word of text, a label's say, and no number or mark."""
        return [token not in self._values and token not in self._kinds for token in ids]

    def _of_parts(
        self,
        ids: Sequence[int],
        nothing: ValueT,
        of_part: Callable[[type[Latent], list[Word]], list[ValueT]],
    ) -> list[ValueT]:
        values = [nothing] * len(ids)
        kind: type[Latent] | None = None
        start = 0
        for index, token in enumerate([*ids, self._end]):
            if token not in self._kinds and token != self._end:
                continue
            if kind is not None:
                words = [self._values.get(token, "") for token in ids[start:index]]
                values[start:index] = of_part(kind, words)
            kind = self._kinds.get(token)
            start = index + 1
        return values

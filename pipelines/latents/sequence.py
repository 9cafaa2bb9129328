"""z: a sequence of latents in a chosen order, as one text.

``<boxes> circle <120><330><410><620> <;> star <500>... <palette> <612><500>...``. The markers, the
numbers and the separator between items are added tokens of the prior's vocabulary. None of them
occurs in ordinary text, so captions keep their digits and their semicolons.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from pipelines.core.errors import KaleidoError, nearest
from pipelines.latents.base import GRID, SEPARATOR, Latent, LatentError, number
from pipelines.latents.registry import is_kind, latent_class

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

DEFAULT_ORDER = ("description", "boxes", "blobs", "tokens", "palette")
"""Kaleido's own kinds, in the paper's order; each later one is predicted given the earlier ones.
Kinds of plug-ins come after them, by name."""

_LIKE_A_MARKER = re.compile(r"<([a-z][a-z-]*)>")


def marker(kind: str) -> str:
    """Return the token that opens a kind's part of z."""
    return f"<{kind}>"


NUMBERS = tuple(number(value) for value in range(GRID + 1))
"""The numbers, in their order."""

VALUE_TOKENS = (SEPARATOR, *NUMBERS)
"""What every kind may write."""

SPECIAL_TOKENS = (*map(marker, DEFAULT_ORDER), *VALUE_TOKENS)
"""Every token that is added to each vocabulary; kinds of plug-ins add their markers."""


def special_tokens(kinds: Iterable[str]) -> tuple[str, ...]:
    """Return `SPECIAL_TOKENS` and the markers of those of `kinds` that are not Kaleido's own."""
    return (*SPECIAL_TOKENS, *(marker(kind) for kind in kinds if kind not in DEFAULT_ORDER))


def number_ids(tokenizer: PreTrainedTokenizerFast) -> list[int]:
    """Return a tokenizer's ids of `NUMBERS`."""
    ids: list[int] = tokenizer.convert_tokens_to_ids(list(NUMBERS))
    return ids


def order_kinds(kinds: Iterable[str]) -> tuple[str, ...]:
    """Put kinds into the default order.

    Raises:
        LatentError: If a kind is unknown or occurs twice.
    """
    given = list(kinds)
    for kind in given:
        latent_class(kind)
        if given.count(kind) > 1:
            raise LatentError(kind, "it occurs twice.", "Name each kind once.")
    own = [kind for kind in DEFAULT_ORDER if kind in given]
    return (*own, *sorted(set(given) - set(own)))


def require_kinds(asked: Iterable[str], known: Sequence[str], who: str) -> None:
    """Raise KaleidoError unless every asked kind is known; `who` begins the reason."""
    unknown = [kind for kind in asked if kind not in known]
    if unknown:
        raise KaleidoError(
            ", ".join(unknown),
            f"{who} {', '.join(known)} only.",
            f"Choose among those with --z. {nearest(unknown[0], known)}",
        )


def z_to_text(z: Mapping[str, Latent]) -> str:
    """Write z in the mapping's own order; an empty z is the empty string.

    Raises:
        LatentError: If a latent stands under another kind's name.
    """
    for kind, latent in z.items():
        if latent.kind != kind:
            raise LatentError(kind, f"its latent is of kind {latent.kind!r}.")
    return " ".join(f"{marker(kind)} {latent.to_text()}" for kind, latent in z.items())


def z_from_text(text: str) -> dict[str, Latent]:
    """Read z; the result keeps the text's order.

    Raises:
        LatentError: If text stands before the first marker, a kind occurs twice, or a part does
            not follow its kind's grammar.
    """
    named = sorted(filter(is_kind, set(_LIKE_A_MARKER.findall(text))))
    head, *parts = re.split(f"<({'|'.join(named)})>", text) if named else [text]
    if head.strip():
        raise LatentError(
            "z",
            f"it begins with {head.strip()[:40]!r}.",
            f"Begin with a marker: {' '.join(map(marker, DEFAULT_ORDER))}.",
        )
    z: dict[str, Latent] = {}
    for kind, part in zip(parts[::2], parts[1::2], strict=True):
        if kind in z:
            raise LatentError("z", f"{marker(kind)} occurs twice.", "Keep one of them.")
        z[kind] = latent_class(kind).from_text(part)
    return z

"""z as one text: the parts of several kinds in a chosen order, each after its marker.

``<boxes> circle <120><330><410><620> <;> star <500>... <palette> <612><500>...``. Markers, numbers
and separators are added tokens of the prior's vocabulary.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

from pipelines.core.errors import KaleidoError, nearest
from pipelines.latents.base import Latent
from pipelines.latents.registry import is_kind, latent_class
from pipelines.latents.text import DEFAULT_ORDER, LatentError, marker

_LIKE_A_MARKER = re.compile(r"<([a-z][a-z-]*)>")


def order_kinds(kinds: Iterable[str]) -> tuple[str, ...]:
    """Sort kinds into the default order.

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


def require_kinds(requested: Iterable[str], known: Sequence[str], subject: str) -> None:
    """Raise KaleidoError if a requested kind is not among those a model knows.

    Args:
        requested: The kinds that a caller wants.
        known: The kinds of the model.
        subject: How the reason begins, for example "this prior draws".
    """
    unknown = [kind for kind in requested if kind not in known]
    if unknown:
        raise KaleidoError(
            ", ".join(unknown),
            f"{subject} {', '.join(known)} only.",
            f"Choose among those with --z. {nearest(unknown[0], known)}",
            "model-mismatch",
        )


def z_to_text(z: Mapping[str, Latent]) -> str:
    """Return the text of z in the order of the mapping; an empty z is "".

    Raises:
        LatentError: If a latent is stored under the name of another kind.
    """
    for kind, latent in z.items():
        if latent.kind != kind:
            raise LatentError(kind, f"its latent is of kind {latent.kind!r}.")
    return " ".join(f"{marker(kind)} {latent.to_text()}" for kind, latent in z.items())


def z_from_text(text: str) -> dict[str, Latent]:
    """Parse z; the result keeps the order of the text.

    Raises:
        LatentError: If there is text before the first marker, a kind occurs twice, or a part does
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

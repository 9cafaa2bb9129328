"""The kinds of latents that exist."""

from __future__ import annotations

from pipelines.core.errors import nearest
from pipelines.latents.base import Latent, LatentError
from pipelines.latents.blobs import Blobs
from pipelines.latents.boxes import Boxes
from pipelines.latents.description import Description
from pipelines.latents.palette import Palette
from pipelines.latents.tokens import Tokens

KINDS: dict[str, type[Latent]] = {
    cls.kind: cls for cls in (Description, Boxes, Blobs, Tokens, Palette)
}


def latent_class(kind: str) -> type[Latent]:
    """Return the class of a kind.

    Raises:
        LatentError: If there is no such kind; the nearest name is offered.
    """
    if kind not in KINDS:
        raise LatentError(kind, "there is no such kind of latent.", nearest(kind, KINDS))
    return KINDS[kind]


def extract_command(kind: str) -> str:
    """The command that computes a kind."""
    return f"kaleido extract {'descriptions' if kind == 'description' else kind}"

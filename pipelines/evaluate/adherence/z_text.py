"""Parse the texts of z once each, since many metrics need the same one."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import TypeVar

from pipelines.latents.base import Latent
from pipelines.latents.sequence import z_from_text
from pipelines.latents.text import LatentError

LatentT = TypeVar("LatentT", bound=Latent)


@lru_cache(maxsize=1 << 12)
def read_z(text: str) -> Mapping[str, Latent] | None:
    """Parse z into latents by kind; None if the text does not follow the grammar of its kinds."""
    try:
        return z_from_text(text)
    except LatentError:
        return None


def latent_of(text: str, kind: type[LatentT]) -> LatentT | None:
    """Return the latent of one kind; None if z has none or does not parse."""
    latent = (read_z(text) or {}).get(kind.kind)
    return latent if isinstance(latent, kind) else None

"""Move z along when its picture is cropped."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pipelines.latents.alignment import aligned
from pipelines.latents.base import Latent, Rect
from pipelines.latents.items import ItemList

WHOLE: Rect = (0.0, 0.0, 1.0, 1.0)
"""The region that is the whole picture."""


def crop_z(z: Mapping[str, Latent], region: Rect) -> dict[str, Latent]:
    """Return the z of a part of a picture.

    Objects are clipped to the part; those of which too little remains are left out, and so are the
    items of other kinds that describe them one by one, as their colours do. Palettes and
    descriptions are of the whole picture and stay.

    Args:
        z: Latents by kind.
        region: The part, in fractions of the picture's sides.

    Returns:
        The kinds of which something remains.

    Raises:
        LatentError: If a kind cannot be cropped: visual tokens.
    """
    if region == WHOLE:
        return dict(z)
    cropped: dict[str, Latent | None] = {}
    for kind, latent in z.items():
        host = next((z[name] for name in latent.placed_by if name in z), None)
        if isinstance(latent, ItemList) and isinstance(host, ItemList):
            cropped[kind] = latent.only(_shown(latent, host, region))
        else:
            cropped[kind] = latent.crop(region)
    return {kind: latent for kind, latent in cropped.items() if latent is not None}


def _shown(latent: ItemList[Any], host: ItemList[Any], region: Rect) -> list[int]:
    """Return the items whose object is visible, or which describe no object of the host."""
    visible = set(host.visible(region))
    pairs = aligned(latent.items, host.items, lambda one, other: one.label == other.label)
    return [n for n in range(len(latent.items)) if n not in pairs or pairs[n] in visible]

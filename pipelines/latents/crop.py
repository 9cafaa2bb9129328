"""Move z along when its picture is cropped."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

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
    lists = {kind: latent for kind, latent in z.items() if isinstance(latent, ItemList)}
    placed = [latent for latent in lists.values() if latent.has_places]
    cropped: dict[str, Latent | None] = {}
    for kind, latent in z.items():
        like = [each for each in placed if kind in lists and _labels(each) == _labels(lists[kind])]
        if kind in lists and not lists[kind].has_places and like:
            cropped[kind] = lists[kind].only(like[0].visible(region))
        else:
            cropped[kind] = latent.crop(region)
    return {kind: latent for kind, latent in cropped.items() if latent is not None}


def _labels(latent: ItemList[Any]) -> Sequence[str] | None:
    """Return the labels of a list, which tell that two lists describe the same objects."""
    return [item.label for item in latent.items] if latent.labelled else None

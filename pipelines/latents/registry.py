"""The registry of kinds: Kaleido's own and those of plug-ins."""

from __future__ import annotations

import re
from functools import cache
from inspect import isabstract
from typing import Any

from pipelines.core.errors import nearest
from pipelines.core.plugins import LATENTS, load_plugin, plugin_error, plugin_names
from pipelines.latents.base import Latent, Stored
from pipelines.latents.base_states import BaseStates
from pipelines.latents.blobs import Blobs
from pipelines.latents.boxes import Boxes
from pipelines.latents.caption_states import CaptionStates
from pipelines.latents.colours import Colours
from pipelines.latents.description import Description
from pipelines.latents.image_latents import ImageLatents
from pipelines.latents.palette import Palette
from pipelines.latents.text import LatentError
from pipelines.latents.tokens import Tokens

KINDS: dict[str, type[Latent]] = {
    cls.kind: cls for cls in (Description, Boxes, Blobs, Colours, Tokens, Palette)
}
"""Kaleido's own kinds, in the order of `text.DEFAULT_ORDER`."""

CACHES: dict[str, type[Stored]] = {
    cls.kind: cls for cls in (ImageLatents, CaptionStates, BaseStates)
}
"""What is computed like latents and is no kind of z."""

# A kind also names a token and a folder, so digits and the special tokens of tokenizers are out.
_NAME = re.compile(r"(?!pad$|unk$|mask$|bos$|eos$)[a-z][a-z-]{1,19}")


def latent_class(kind: str) -> type[Latent]:
    """Return the class of a kind.

    Raises:
        LatentError: If the kind is unknown; the hint offers the nearest name.
        KaleidoError: If a plug-in registers something else than a subclass of Latent.
    """
    return KINDS[kind] if kind in KINDS else _plugin_class(kind)


def stored_class(kind: str) -> type[Stored]:
    """Return the class of a kind, or of one of `CACHES`; raises the errors of `latent_class`."""
    return CACHES[kind] if kind in CACHES else latent_class(kind)


def is_kind(name: str) -> bool:
    """Return whether a kind of this name exists, without importing plug-ins."""
    return name in KINDS or name in plugin_names(LATENTS)


def extract_command(kind: str) -> str:
    """Return the command that computes a kind."""
    if kind not in KINDS and kind not in CACHES:
        return f"kaleido extract plugin {kind}"
    return f"kaleido extract {'descriptions' if kind == 'description' else kind}"


@cache
def _plugin_class(kind: str) -> type[Latent]:
    found = load_plugin(LATENTS, kind)
    if found is None:
        known = nearest(kind, (*KINDS, *plugin_names(LATENTS)))
        raise LatentError(kind, "it is not a kind of latent.", known)
    if problem := _problem(kind, found):
        raise plugin_error(LATENTS, kind, problem)
    cls: type[Latent] = found
    return cls


def _problem(kind: str, found: Any) -> str:
    """Return why a plug-in's object cannot be the class of a kind; "" if it can."""
    if not _NAME.fullmatch(kind):
        return (
            "a kind's name has 2 to 20 lower-case letters or hyphens, and is not "
            "pad, unk, mask, bos or eos."
        )
    if not (isinstance(found, type) and issubclass(found, Latent)):
        return f"{found!r} is not a subclass of pipelines.latents.base.Latent."
    if isabstract(found):
        return f"{found.__name__} lacks {', '.join(sorted(found.__abstractmethods__))}."
    if getattr(found, "kind", None) != kind:
        return f"{found.__name__}.kind is {getattr(found, 'kind', None)!r}, not {kind!r}."
    if type(getattr(found, "version", None)) is not int:
        return f"{found.__name__}.version is not a whole number."
    return ""

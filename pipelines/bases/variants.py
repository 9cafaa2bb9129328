"""Variants of weights: ``model.fp16.safetensors`` in place of, or beside, the usual file."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import reduce

from pipelines.core.errors import KaleidoError

PREFERRED = ("fp16", "bf16")
"""The order in which variants are taken where several would do."""

OTHERS = ("non_ema", "ema")

_WEIGHTS = ".safetensors"


def variant_of(name: str, files: Iterable[str], components: Iterable[str]) -> str:
    """Return the variant that must be loaded; empty if all weights are there without one.

    Args:
        name: The base's name, for errors.
        files: Paths in the repository, ``unet/diffusion_pytorch_model.fp16.safetensors``.
        components: Names of the components that are used.

    Raises:
        KaleidoError: If no variant is there for all components that have no other weights.
    """
    weights = [file.split("/") for file in files if file.endswith(_WEIGHTS)]
    found = {
        component: {_variant(path[1]) for path in weights if path[0] == component and path[1:]}
        for component in components
    }
    bound = {component: kinds for component, kinds in found.items() if kinds and "" not in kinds}
    if not bound:
        return ""
    common: set[str] = reduce(set.intersection, bound.values())
    if not common:
        held = "; ".join(f"{part}: {', '.join(sorted(kinds))}" for part, kinds in bound.items())
        raise KaleidoError(
            name,
            f"its networks have weights of different variants alone ({held}).",
            "Keep one variant of all of them, or take another repository.",
            code="bad-model",
        )
    return next((kind for kind in PREFERRED if kind in common), min(common))


def unwanted(variant: str) -> list[str]:
    """Return patterns of files of other variants than the one that is loaded."""
    return [f"*.{other}[.-]*" for other in (*PREFERRED, *OTHERS) if other != variant]


def _variant(file: str) -> str:
    """Return the variant in the name of a file of weights, whole or a shard of them."""
    kind = file.removesuffix(_WEIGHTS).partition(".")[2]
    return re.sub(r"-\d+-of-\d+$", "", kind)

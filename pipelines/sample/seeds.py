"""The seeds of samples: each is derived from (seed, purpose, number, caption) alone."""

from __future__ import annotations

from collections.abc import Iterable

from pipelines.core.seeds import derive
from pipelines.workspace.settings import SampleSettings


def seeds_of(
    settings: SampleSettings, purpose: str, caption: str, indices: Iterable[int]
) -> list[int]:
    """Derive the seeds of a caption's samples.

    Args:
        settings: Their seed, and what is added to it for z or for noise.
        purpose: ``z``, ``z candidate 1`` and so on, ``noise`` or ``second noise``.
        caption: The caption.
        indices: Numbers of the samples.
    """
    seed = settings.seed + (settings.noise_seed if purpose.endswith("noise") else settings.z_seed)
    return [derive(seed, purpose, f"{index}:{caption}") for index in indices]

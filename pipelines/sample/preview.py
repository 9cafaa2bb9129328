"""Pictures of a model that is still being trained."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from pipelines.core.contact_sheet import contact_sheet
from pipelines.core.files import atomic_write
from pipelines.core.images import encode_png
from pipelines.models.diffusion import Diffusion
from pipelines.models.prior import Prior
from pipelines.sample.bundle import Bundle
from pipelines.sample.draw import draw_each
from pipelines.workspace.settings import SampleSettings

ACROSS = 4
"""Pictures of each caption."""


def draw_preview(prior: Prior, model: Diffusion, captions: Sequence[str], path: Path) -> None:
    """Draw pictures of captions on one sheet, always with the same seeds.

    Args:
        prior: The prior that the model reads.
        model: A denoiser in training, or a baseline.
        captions: What to draw.
        path: The sheet, a PNG.
    """
    bundle = Bundle(prior, model, "kaleido" if model.z_kinds else "baseline", "workspace")
    with torch.random.fork_rng(devices=[]):
        drawn = [
            (caption, [sample.pixels for sample in samples])
            for caption, samples in zip(
                captions, draw_each(bundle, captions, SampleSettings(n=ACROSS)), strict=True
            )
        ]
    atomic_write(path, encode_png(contact_sheet(drawn, columns=ACROSS)))

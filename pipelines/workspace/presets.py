"""Named sets of settings for training: from a laptop to the paper's system."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pipelines.core.errors import KaleidoError, nearest


@dataclass(frozen=True)
class Preset:
    """A set of settings.

    Attributes:
        needs: What it is for, and what it needs.
        settings: ``section.key`` to value; the workspace's file and flags fill the rest.
    """

    needs: str
    settings: Mapping[str, Any]


FLAN_T5_XL = {
    "prior.pretrained": "google/flan-t5-xl",
    "prior.max_caption_tokens": 128,
    "prior.learning_rate": 1e-4,
    "train.gradient_checkpointing": "on",
}

PRESETS: dict[str, Preset] = {
    "tiny": Preset(
        "32 pixels on two CPU cores, in minutes: to see the chain work.",
        {
            "prior.d_model": 64,
            "prior.d_ff": 128,
            "prior.layers": 2,
            "prior.steps": 300,
            "prior.batch_size": 32,
            "diffusion.image_size": 32,
            "diffusion.layers": 1,
            "diffusion.heads": 2,
            "diffusion.pixel_channels": 24,
            "diffusion.steps": 300,
        },
    ),
    "small": Preset(
        "64 pixels on one GPU of 12 GB: a few thousand pictures of one's own.",
        {
            "prior.d_model": 256,
            "prior.d_ff": 1024,
            "prior.layers": 6,
            "prior.heads": 8,
            "prior.learning_rate": 1e-3,
            "prior.steps": 20_000,
            "diffusion.image_size": 64,
            "diffusion.layers": 8,
            "diffusion.heads": 8,
            "diffusion.head_dim": 48,
            "diffusion.pixel_channels": 96,
            "diffusion.learning_rate": 4e-4,
            "diffusion.batch_size": 64,
            "diffusion.steps": 50_000,
            "diffusion.ema": 0.9995,
            "train.micro_batch": 16,
        },
    ),
    "lora": Preset(
        "flan-T5-XL (11 GB of weights) as the prior on one GPU of 24 GB: adapters on its decoder.",
        {
            **FLAN_T5_XL,
            "prior.lora_rank": 16,
            "prior.steps": 20_000,
            "train.micro_batch": 4,
        },
    ),
    "paper": Preset(
        "The paper's system: flan-T5-XL, 256 pixels, batch 512, 400,000 steps. The paper's ran for "
        "two weeks on 64 A100; by the plan each of 64 processes needs 38 GB for the prior, 28 GB "
        "for the denoiser with the frozen prior.",
        {
            **FLAN_T5_XL,
            "prior.batch_size": 512,
            "prior.warmup": 10_000,
            "prior.steps": 400_000,
            "diffusion.architecture": "nested-unet",
            "diffusion.image_size": 256,
            "diffusion.outer_channels": (64, 128, 256),
            "diffusion.outer_blocks": (2, 2, 1),
            "diffusion.inner_channels": (256, 512, 768),
            "diffusion.inner_blocks": (2, 2, 2),
            "diffusion.inner_attention": (0, 1, 5),
            "diffusion.heads": 8,
            "diffusion.learning_rate": 1e-4,
            "diffusion.batch_size": 512,
            "diffusion.warmup": 10_000,
            "diffusion.steps": 400_000,
            "diffusion.ema": 0.9999,
            "train.clip": 2.0,
        },
    ),
}
"""By name. `kaleido train … --preset NAME --dry-run` prints what a preset needs on one's data."""


def preset_settings(name: str) -> Mapping[str, Any]:
    """Return a preset's settings, ``section.key`` to value.

    Raises:
        KaleidoError: If there is no such preset (``bad-option``).
    """
    if name not in PRESETS:
        hint = nearest(name, PRESETS)
        raise KaleidoError(f"--preset {name}", "it is not known.", hint, code="bad-option")
    return PRESETS[name].settings

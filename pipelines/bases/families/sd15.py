"""Stable Diffusion 1.5 and 2."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from pipelines.bases.families.sdxl import distilled_unet
from pipelines.bases.family import Condition, Family, KlLatents


class Sd15(KlLatents, Family):
    """See the module docstring. The pipeline's safety checker is not used."""

    name = "sd15"
    title = "Stable Diffusion 1.5 and 2"
    pipelines = ("StableDiffusionPipeline",)
    denoiser = "unet"
    predicts = "noise"
    cfg, steps = 7.5, 50
    side = 512
    multiple = 8
    text_limit = 77
    licence = "CreativeML Open RAIL-M"

    def encode(self, pipe: Any, prompts: Sequence[str]) -> Condition:
        """See `Family.encode`."""
        states, _ = pipe.encode_prompt(list(prompts), pipe._execution_device, 1, False)
        return {"states": states}

    def null(self, pipe: Any, negative: str | None) -> Condition:
        """See `Family.null`."""
        found = pipe.encode_prompt(
            "", pipe._execution_device, 1, True, negative_prompt=negative or ""
        )
        return {"states": found[1]}

    def blank(self, pipe: Any, count: int, like: torch.Tensor) -> Condition:
        """See `Family.blank`."""
        width = pipe.unet.config.cross_attention_dim
        return {"states": like.new_zeros(count, self.text_limit, width)}

    def predict(
        self, pipe: Any, x: torch.Tensor, time: torch.Tensor, condition: Condition
    ) -> torch.Tensor:
        """See `Family.predict`."""
        predicted: torch.Tensor = pipe.unet(x, time, condition["states"], return_dict=False)[0]
        return predicted

    def distilled(self, config: Mapping[str, Any], denoiser: Mapping[str, Any], name: str) -> str:
        """See `Family.distilled`."""
        return distilled_unet(denoiser) or super().distilled(config, denoiser, name)

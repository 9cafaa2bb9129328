"""Stable Diffusion 1.5 and 2."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from pipelines.bases.clip import (
    CHUNKS,
    CLIP_TOKENS,
    cut_into_chunks,
    read_chunks,
    stack,
)
from pipelines.bases.families.sdxl import distilled_unet
from pipelines.bases.family import Condition, Family
from pipelines.bases.image_tokens import Block, unet_blocks
from pipelines.bases.latents import KlLatents


class Sd15(KlLatents, Family):
    """See the module docstring. States are a list, as in `Sdxl`.

    The pipeline's safety checker is not used.
    """

    name = "sd15"
    title = "Stable Diffusion 1.5 and 2"
    pipelines = ("StableDiffusionPipeline",)
    denoiser = "unet"
    predicts = "noise"
    cfg, steps = 7.5, 50
    side = 512
    multiple = 8
    text_limit = CHUNKS * CLIP_TOKENS
    long_prompts = "They are read in parts of 77 tokens."
    licence = "CreativeML Open RAIL-M"

    def encode(self, pipe: Any, prompts: Sequence[str]) -> Condition:
        """See `Family.encode`."""

        def read(texts: list[str]) -> tuple[torch.Tensor, ...]:
            return (pipe.encode_prompt(texts, pipe._execution_device, 1, False)[0],)

        return {"states": read_chunks(pipe.tokenizer, prompts, read)[0]}

    def null(self, pipe: Any, negative: str | None) -> Condition:
        """See `Family.null`."""
        return self.encode(pipe, [negative or ""])

    def blank(self, pipe: Any, count: int, like: torch.Tensor) -> Condition:
        """See `Family.blank`."""
        width = pipe.unet.config.cross_attention_dim
        return {"states": list(like.new_zeros(count, self.text_limit, width))}

    def blocks(self, denoiser: Any) -> list[Block]:
        """See `Family.blocks`."""
        return unet_blocks(denoiser)

    def predict(
        self, pipe: Any, x: torch.Tensor, time: torch.Tensor, condition: Condition
    ) -> torch.Tensor:
        """See `Family.predict`."""
        states, mask = stack(condition["states"])
        predicted: torch.Tensor = pipe.unet(
            x, time, states, encoder_attention_mask=mask, return_dict=False
        )[0]
        return predicted

    def length(self, pipe: Any, prompt: str) -> int:
        """See `Family.length`. Every chunk takes all tokens that CLIP reads."""
        return CLIP_TOKENS * len(cut_into_chunks(pipe.tokenizer, prompt))

    def distilled(self, config: Mapping[str, Any], denoiser: Mapping[str, Any], name: str) -> str:
        """See `Family.distilled`."""
        return distilled_unet(denoiser) or super().distilled(config, denoiser, name)

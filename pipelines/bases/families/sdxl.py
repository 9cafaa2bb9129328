"""Stable Diffusion XL."""

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
from pipelines.bases.family import Condition, Family
from pipelines.bases.image_tokens import Block, unet_blocks
from pipelines.bases.latents import KlLatents


class Sdxl(KlLatents, Family):
    """See the module docstring. States are a list, as prompts differ in their number of chunks."""

    name = "sdxl"
    title = "Stable Diffusion XL"
    pipelines = ("StableDiffusionXLPipeline",)
    denoiser = "unet"
    predicts = "noise"
    cfg, steps = 5.0, 50
    multiple = 8
    text_limit = CHUNKS * CLIP_TOKENS
    long_prompts = "They are read in parts of 77 tokens; the pooled state is that of the first."
    licence = "CreativeML Open RAIL++-M"

    def encode(self, pipe: Any, prompts: Sequence[str]) -> Condition:
        """See `Family.encode`."""

        def read(texts: list[str]) -> tuple[torch.Tensor, torch.Tensor]:
            found = pipe.encode_prompt(texts, do_classifier_free_guidance=False)
            return found[0], found[2]

        states, pooled = read_chunks(pipe.tokenizer, prompts, read)
        return {"states": states, "pooled": pooled}

    def null(self, pipe: Any, negative: str | None) -> Condition:
        """See `Family.null`. Without a negative prompt SDXL itself takes zeros, not ""."""
        if negative is not None:
            return self.encode(pipe, [negative])
        found = pipe.encode_prompt("", do_classifier_free_guidance=True)
        return {"states": list(found[1]), "pooled": found[3]}

    def blank(self, pipe: Any, count: int, like: torch.Tensor) -> Condition:
        """See `Family.blank`."""
        width = pipe.unet.config.cross_attention_dim
        pooled = pipe.text_encoder_2.config.projection_dim
        states = like.new_zeros(count, self.text_limit, width)
        return {"states": list(states), "pooled": like.new_zeros(count, pooled)}

    def blocks(self, denoiser: Any) -> list[Block]:
        """See `Family.blocks`."""
        return unet_blocks(denoiser)

    def predict(
        self, pipe: Any, x: torch.Tensor, time: torch.Tensor, condition: Condition
    ) -> torch.Tensor:
        """See `Family.predict`. A picture is told to be of its own size and not cropped."""
        height, width = (side * pipe.vae_scale_factor for side in x.shape[-2:])
        states, mask = stack(condition["states"])
        size = torch.tensor([[height, width, 0, 0, height, width]], device=x.device, dtype=x.dtype)
        predicted: torch.Tensor = pipe.unet(
            x,
            time,
            states,
            encoder_attention_mask=mask,
            added_cond_kwargs={
                "text_embeds": condition["pooled"],
                "time_ids": size.expand(len(x), 6),
            },
            return_dict=False,
        )[0]
        return predicted

    def length(self, pipe: Any, prompt: str) -> int:
        """See `Family.length`. Every chunk takes all tokens that CLIP reads."""
        return CLIP_TOKENS * len(cut_into_chunks(pipe.tokenizer, prompt))

    def distilled(self, config: Mapping[str, Any], denoiser: Mapping[str, Any], name: str) -> str:
        """See `Family.distilled`."""
        return distilled_unet(denoiser) or super().distilled(config, denoiser, name)


def distilled_unet(denoiser: Mapping[str, Any]) -> str:
    """Say that a U-Net reads the guidance scale, as consistency models do."""
    if denoiser.get("time_cond_proj_dim") is not None:
        return "its network reads the guidance scale (time_cond_proj_dim)"
    return ""

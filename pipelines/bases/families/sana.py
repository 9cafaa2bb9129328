"""Sana."""

from __future__ import annotations

from collections.abc import Sequence
from inspect import signature
from typing import Any

import torch

from pipelines.bases.family import Condition, Family
from pipelines.bases.image_tokens import Block, listed_blocks
from pipelines.bases.latents import mode_of


class Sana(Family):
    """See the module docstring."""

    name = "sana"
    title = "Sana"
    pipelines = ("SanaPipeline",)
    cfg, steps = 4.5, 20
    few_steps = 2
    multiple = 32
    text_limit = 300
    licence = "NVIDIA's own, and the Gemma terms for the text encoder"

    def encode(self, pipe: Any, prompts: Sequence[str]) -> Condition:
        """See `Family.encode`."""
        states, mask, _, _ = pipe.encode_prompt(
            list(prompts),
            do_classifier_free_guidance=False,
            max_sequence_length=self.text_limit,
            complex_human_instruction=_instruction(pipe),
        )
        return {"states": states, "mask": mask}

    def null(self, pipe: Any, negative: str | None) -> Condition:
        """See `Family.null`. The instruction before prompts is not before negative ones."""
        found = pipe.encode_prompt(
            [""],
            do_classifier_free_guidance=True,
            negative_prompt=negative or "",
            max_sequence_length=self.text_limit,
            complex_human_instruction=_instruction(pipe),
        )
        return {"states": found[2], "mask": found[3]}

    def blank(self, pipe: Any, count: int, like: torch.Tensor) -> Condition:
        """See `Family.blank`."""
        width = pipe.transformer.config.caption_channels
        mask = like.new_ones((count, self.text_limit), dtype=torch.long)
        return {"states": like.new_zeros(count, self.text_limit, width), "mask": mask}

    def latent_shape(self, pipe: Any, height: int, width: int) -> tuple[int, int, int]:
        """See `Family.latent_shape`."""
        factor = pipe.vae_scale_factor
        return pipe.vae.config.latent_channels, height // factor, width // factor

    def to_latents(self, pipe: Any, pixels: torch.Tensor) -> torch.Tensor:
        """See `Family.to_latents`."""
        return mode_of(pipe.vae.encode(pixels)) * pipe.vae.config.scaling_factor

    def to_pixels(self, pipe: Any, latents: torch.Tensor) -> torch.Tensor:
        """See `Family.to_pixels`."""
        scaled = latents / pipe.vae.config.scaling_factor
        decoded: torch.Tensor = pipe.vae.decode(scaled, return_dict=False)[0]
        return decoded

    def blocks(self, denoiser: Any) -> list[Block]:
        """See `Family.blocks`."""
        return listed_blocks(denoiser, {"transformer_blocks": None})

    def predict(
        self, pipe: Any, x: torch.Tensor, time: torch.Tensor, condition: Condition
    ) -> torch.Tensor:
        """See `Family.predict`."""
        predicted: torch.Tensor = pipe.transformer(
            x,
            encoder_hidden_states=condition["states"],
            encoder_attention_mask=condition["mask"],
            timestep=time * 1000 * pipe.transformer.config.timestep_scale,
            return_dict=False,
        )[0]
        return predicted


def _instruction(pipe: Any) -> list[str]:
    """Return the instruction before prompts, which only the pipeline's call has as a default."""
    default = signature(type(pipe).__call__).parameters["complex_human_instruction"].default
    return list(default)

"""Stable Diffusion 3 and 3.5."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from pipelines.bases.clip import CLIP_TOKENS, count_tokens
from pipelines.bases.family import Condition, Family, set_shifted
from pipelines.bases.image_tokens import Block, listed_blocks
from pipelines.bases.latents import KlLatents


class Sd3(KlLatents, Family):
    """See the module docstring. T5 reads a prompt to its end, the two CLIP models its beginning."""

    name = "sd3"
    title = "Stable Diffusion 3 and 3.5"
    pipelines = ("StableDiffusion3Pipeline",)
    cfg, steps = 7.0, 28
    text_limit = 256
    long_prompts = "T5 reads them to the end; CLIP, which gives the pooled state, 77 tokens."
    tokenizer = "tokenizer_3"
    licence = "Stability Community"

    def encode(self, pipe: Any, prompts: Sequence[str]) -> Condition:
        """See `Family.encode`."""
        texts = list(prompts)
        states, _, pooled, _ = pipe.encode_prompt(
            texts,
            texts,
            texts,
            do_classifier_free_guidance=False,
            max_sequence_length=self.text_limit,
        )
        return {"states": states, "pooled": pooled}

    def null(self, pipe: Any, negative: str | None) -> Condition:
        """See `Family.null`."""
        return self.encode(pipe, [negative or ""])

    def blank(self, pipe: Any, count: int, like: torch.Tensor) -> Condition:
        """See `Family.blank`."""
        config = pipe.transformer.config
        tokens = CLIP_TOKENS + self.text_limit
        return {
            "states": like.new_zeros(count, tokens, config.joint_attention_dim),
            "pooled": like.new_zeros(count, config.pooled_projection_dim),
        }

    def blocks(self, denoiser: Any) -> list[Block]:
        """See `Family.blocks`."""
        return listed_blocks(denoiser, {"transformer_blocks": 1})

    def predict(
        self, pipe: Any, x: torch.Tensor, time: torch.Tensor, condition: Condition
    ) -> torch.Tensor:
        """See `Family.predict`."""
        predicted: torch.Tensor = pipe.transformer(
            hidden_states=x,
            timestep=time * 1000,
            encoder_hidden_states=condition["states"],
            pooled_projections=condition["pooled"],
            return_dict=False,
        )[0]
        return predicted

    def timesteps(self, pipe: Any, steps: int, shape: Sequence[int]) -> torch.Tensor:
        """See `Family.timesteps`."""
        if not pipe.scheduler.config.get("use_dynamic_shifting"):
            return super().timesteps(pipe, steps, shape)
        patch = pipe.transformer.config.patch_size
        return set_shifted(pipe, steps, (shape[-2] // patch) * (shape[-1] // patch))

    def length(self, pipe: Any, prompt: str) -> int:
        """See `Family.length`. Without T5, which may be left out, CLIP's limit counts."""
        if pipe.text_encoder_3 is not None:
            return super().length(pipe, prompt)
        tokens = count_tokens(pipe.tokenizer, prompt)
        return tokens if tokens <= CLIP_TOKENS else self.text_limit + tokens

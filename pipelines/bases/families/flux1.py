"""FLUX.1."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from pipelines.bases.family import Condition, Family, patchify, set_shifted, sides_of, unpatchify
from pipelines.bases.image_tokens import Block, listed_blocks
from pipelines.bases.latents import KlLatents

EMBEDDED_GUIDANCE = 3.5
"""The guidance scale that FLUX.1 [dev] reads as a number; `--cfg` is real guidance beside it."""


class Flux1(KlLatents, Family):
    """See the module docstring. The published models are distilled, many finetunes are not."""

    name = "flux1"
    title = "FLUX.1"
    pipelines = ("FluxPipeline",)
    cfg, steps = 4.0, 28
    text_limit = 512
    long_prompts = "T5 reads them to the end; CLIP, which gives the pooled state, 77 tokens."
    tokenizer = "tokenizer_2"
    null_rows = "apart"
    licence = "FLUX non-commercial (dev) or Apache 2.0 (schnell)"

    def encode(self, pipe: Any, prompts: Sequence[str]) -> Condition:
        """See `Family.encode`."""
        texts = list(prompts)
        states, pooled, _ = pipe.encode_prompt(texts, texts, max_sequence_length=self.text_limit)
        return {"states": states, "pooled": pooled}

    def null(self, pipe: Any, negative: str | None) -> Condition:
        """See `Family.null`. Without a negative prompt the pipeline itself never guides."""
        return self.encode(pipe, [negative or ""])

    def blank(self, pipe: Any, count: int, like: torch.Tensor) -> Condition:
        """See `Family.blank`."""
        config = pipe.transformer.config
        return {
            "states": like.new_zeros(count, self.text_limit, config.joint_attention_dim),
            "pooled": like.new_zeros(count, config.pooled_projection_dim),
        }

    def blocks(self, denoiser: Any) -> list[Block]:
        """See `Family.blocks`."""
        places = {"transformer_blocks": 1, "single_transformer_blocks": 1}
        return listed_blocks(denoiser, places)

    def image_sides(self, called: Mapping[str, Any]) -> tuple[int, int]:
        """See `Family.image_sides`."""
        return sides_of(called["img_ids"])

    def predict(
        self, pipe: Any, x: torch.Tensor, time: torch.Tensor, condition: Condition
    ) -> torch.Tensor:
        """See `Family.predict`."""
        height, width = x.shape[-2:]
        states, guidance = condition["states"], None
        if pipe.transformer.config.guidance_embeds:
            guidance = torch.full_like(time, EMBEDDED_GUIDANCE)
        places = pipe._prepare_latent_image_ids(
            len(x), height // 2, width // 2, x.device, states.dtype
        )
        tokens = pipe.transformer(
            hidden_states=patchify(x),
            timestep=time,
            guidance=guidance,
            pooled_projections=condition["pooled"],
            encoder_hidden_states=states,
            txt_ids=states.new_zeros(states.shape[1], 3),
            img_ids=places,
            return_dict=False,
        )[0]
        return unpatchify(tokens, height, width)

    def timesteps(self, pipe: Any, steps: int, shape: Sequence[int]) -> torch.Tensor:
        """See `Family.timesteps`."""
        return set_shifted(pipe, steps, (shape[-2] // 2) * (shape[-1] // 2))

    def distilled(self, config: Mapping[str, Any], denoiser: Mapping[str, Any], name: str) -> str:
        """See `Family.distilled`."""
        if denoiser.get("guidance_embeds"):
            return "its network reads the guidance scale (guidance_embeds)"
        return super().distilled(config, denoiser, name)

    def steps_if_distilled(self, denoiser: Mapping[str, Any]) -> int:
        """See `Family.steps_if_distilled`. Guidance alone was distilled into the dev model."""
        return self.steps if denoiser.get("guidance_embeds") else self.few_steps

"""Qwen-Image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from pipelines.bases.family import Condition, Family, patchify, set_shifted, unpatchify
from pipelines.bases.image_tokens import Block, listed_blocks
from pipelines.bases.latents import FrameLatents


class QwenImage(FrameLatents, Family):
    """See the module docstring."""

    name = "qwen-image"
    title = "Qwen-Image"
    pipelines = ("QwenImagePipeline",)
    cfg, steps = 4.0, 50
    text_limit = 1024
    null_rows = "apart"
    licence = "Apache 2.0"

    def encode(self, pipe: Any, prompts: Sequence[str]) -> Condition:
        """See `Family.encode`."""
        states, mask = pipe.encode_prompt(list(prompts), max_sequence_length=self.text_limit)
        if mask is None:
            mask = states.new_ones(states.shape[:2], dtype=torch.long)
        return {"states": states, "mask": mask}

    def null(self, pipe: Any, negative: str | None) -> Condition:
        """See `Family.null`. Without a negative prompt the pipeline itself never guides."""
        return self.encode(pipe, [negative or " "])

    def blank(self, pipe: Any, count: int, like: torch.Tensor) -> Condition:
        """See `Family.blank`. A mask has values, so it is on the CPU."""
        width = pipe.transformer.config.joint_attention_dim
        mask = torch.ones(count, self.text_limit, dtype=torch.long)
        return {"states": like.new_zeros(count, self.text_limit, width), "mask": mask}

    def blocks(self, denoiser: Any) -> list[Block]:
        """See `Family.blocks`."""
        return listed_blocks(denoiser, {"transformer_blocks": 1})

    def image_sides(self, called: Mapping[str, Any]) -> tuple[int, int]:
        """See `Family.image_sides`."""
        ((_, height, width),) = called["img_shapes"][0]
        return height, width

    def predict(
        self, pipe: Any, x: torch.Tensor, time: torch.Tensor, condition: Condition
    ) -> torch.Tensor:
        """See `Family.predict`."""
        height, width = x.shape[-2:]
        mask = condition["mask"]
        tokens = pipe.transformer(
            hidden_states=patchify(x),
            timestep=time,
            guidance=None,
            encoder_hidden_states=condition["states"],
            encoder_hidden_states_mask=None if bool(mask.all()) else mask,
            img_shapes=[[(1, height // 2, width // 2)]] * len(x),
            return_dict=False,
        )[0]
        return unpatchify(tokens, height, width)

    def timesteps(self, pipe: Any, steps: int, shape: Sequence[int]) -> torch.Tensor:
        """See `Family.timesteps`."""
        return set_shifted(pipe, steps, (shape[-2] // 2) * (shape[-1] // 2))

    def rescale(self, guided: torch.Tensor, conditional: torch.Tensor) -> torch.Tensor:
        """See `Family.rescale`. Each token keeps the norm that it has without guidance."""
        tokens, plain = patchify(guided), patchify(conditional)
        norms = plain.norm(dim=-1, keepdim=True) / tokens.norm(dim=-1, keepdim=True)
        return unpatchify(tokens * norms, *guided.shape[-2:])

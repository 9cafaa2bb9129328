"""PixArt-Σ."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from pipelines.bases.family import Condition, Family
from pipelines.bases.image_tokens import Block, listed_blocks
from pipelines.bases.latents import KlLatents


class PixArtSigma(KlLatents, Family):
    """See the module docstring."""

    name = "pixart-sigma"
    title = "PixArt-Σ"
    pipelines = ("PixArtSigmaPipeline",)
    predicts = "noise"
    cfg, steps = 4.5, 20
    text_limit = 300
    licence = "CreativeML Open RAIL++-M"

    def encode(self, pipe: Any, prompts: Sequence[str]) -> Condition:
        """See `Family.encode`."""
        states, mask, _, _ = pipe.encode_prompt(
            list(prompts), do_classifier_free_guidance=False, max_sequence_length=self.text_limit
        )
        return {"states": states, "mask": mask}

    def null(self, pipe: Any, negative: str | None) -> Condition:
        """See `Family.null`."""
        found = pipe.encode_prompt(
            [""],
            do_classifier_free_guidance=True,
            negative_prompt=negative or "",
            max_sequence_length=self.text_limit,
        )
        return {"states": found[2], "mask": found[3]}

    def blank(self, pipe: Any, count: int, like: torch.Tensor) -> Condition:
        """See `Family.blank`."""
        width = pipe.transformer.config.caption_channels
        mask = like.new_ones((count, self.text_limit), dtype=torch.long)
        return {"states": like.new_zeros(count, self.text_limit, width), "mask": mask}

    def blocks(self, denoiser: Any) -> list[Block]:
        """See `Family.blocks`."""
        return listed_blocks(denoiser, {"transformer_blocks": None})

    def predict(
        self, pipe: Any, x: torch.Tensor, time: torch.Tensor, condition: Condition
    ) -> torch.Tensor:
        """See `Family.predict`. The second half of the output is a variance, which is not used."""
        found: torch.Tensor = pipe.transformer(
            x,
            encoder_hidden_states=condition["states"],
            encoder_attention_mask=condition["mask"],
            timestep=time,
            added_cond_kwargs={"resolution": None, "aspect_ratio": None},
            return_dict=False,
        )[0]
        return found[:, : x.shape[1]]

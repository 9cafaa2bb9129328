"""Lumina Image 2."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from pipelines.bases.family import Condition, Family, set_shifted
from pipelines.bases.image_tokens import Block, listed_blocks
from pipelines.bases.latents import KlLatents


class Lumina2(KlLatents, Family):
    """See the module docstring."""

    name = "lumina2"
    title = "Lumina Image 2"
    pipelines = ("Lumina2Pipeline",)
    cfg, steps = 4.0, 30
    text_limit = 256
    null_rows = "apart"
    licence = "Apache 2.0"

    def encode(self, pipe: Any, prompts: Sequence[str]) -> Condition:
        """See `Family.encode`."""
        states, mask, _, _ = pipe.encode_prompt(
            list(prompts), do_classifier_free_guidance=False, max_sequence_length=self.text_limit
        )
        return {"states": states, "mask": mask}

    def null(self, pipe: Any, negative: str | None) -> Condition:
        """See `Family.null`. The system prompt before prompts is not before negative ones."""
        found = pipe.encode_prompt(
            [""],
            do_classifier_free_guidance=True,
            negative_prompt=[negative or ""],
            max_sequence_length=self.text_limit,
        )
        return {"states": found[2], "mask": found[3]}

    def blank(self, pipe: Any, count: int, like: torch.Tensor) -> Condition:
        """See `Family.blank`. A mask has values, so it is on the CPU."""
        width = pipe.transformer.config.cap_feat_dim
        mask = torch.ones(count, self.text_limit, dtype=torch.long)
        return {"states": like.new_zeros(count, self.text_limit, width), "mask": mask}

    def blocks(self, denoiser: Any) -> list[Block]:
        """See `Family.blocks`."""
        return listed_blocks(denoiser, {"layers": None}, denoiser.config.hidden_size)

    def image_spans(self, denoiser: Any, called: Mapping[str, Any]) -> list[slice] | None:
        """See `Family.image_spans`. Each row's picture follows its own text at once."""
        height, width = called["hidden_states"].shape[-2:]
        tokens = height * width // denoiser.config.patch_size**2
        starts = called["encoder_attention_mask"].sum(1).tolist()
        return [slice(start, start + tokens) for start in starts]

    def predict(
        self, pipe: Any, x: torch.Tensor, time: torch.Tensor, condition: Condition
    ) -> torch.Tensor:
        """See `Family.predict`. The network counts time from noise, and predicts the opposite."""
        found: torch.Tensor = pipe.transformer(
            hidden_states=x,
            timestep=1 - time,
            encoder_hidden_states=condition["states"],
            encoder_attention_mask=condition["mask"],
            return_dict=False,
        )[0]
        return -found

    def timesteps(self, pipe: Any, steps: int, shape: Sequence[int]) -> torch.Tensor:
        """See `Family.timesteps`. The pipeline takes the number of channels for that of tokens."""
        return set_shifted(pipe, steps, shape[1])

    def rescale(self, guided: torch.Tensor, conditional: torch.Tensor) -> torch.Tensor:
        """See `Family.rescale`. Each row of pixels keeps the norm that it has without guidance."""
        norms = [torch.norm(each, dim=-1, keepdim=True) for each in (conditional, guided)]
        return guided * (norms[0] / norms[1])

    def template(self, pipe: Any, prompt: str) -> str:
        """See `Family.template`."""
        return f"{pipe.system_prompt} <Prompt Start> {prompt}"

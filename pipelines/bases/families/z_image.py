"""Z-Image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from pipelines.bases.family import Condition, Family, set_shifted
from pipelines.bases.image_tokens import Block, listed_blocks
from pipelines.bases.latents import KlLatents


class ZImage(KlLatents, Family):
    """See the module docstring.

    The pipeline's own guidance scale is one less than the usual one; ours is the usual one.
    """

    name = "z-image"
    title = "Z-Image"
    pipelines = ("ZImagePipeline",)
    cfg, steps = 6.0, 50
    few_steps = 9
    text_limit = 512
    null_rows = "last"
    licence = "Apache 2.0"

    def encode(self, pipe: Any, prompts: Sequence[str]) -> Condition:
        """See `Family.encode`. The pipeline writes its template into the list that it is given."""
        states, _ = pipe.encode_prompt(
            list(prompts), do_classifier_free_guidance=False, max_sequence_length=self.text_limit
        )
        return {"states": states}

    def null(self, pipe: Any, negative: str | None) -> Condition:
        """See `Family.null`."""
        return self.encode(pipe, [negative or ""])

    def blank(self, pipe: Any, count: int, like: torch.Tensor) -> Condition:
        """See `Family.blank`."""
        width = pipe.transformer.config.cap_feat_dim
        return {"states": [like.new_zeros(self.text_limit, width) for _ in range(count)]}

    def blocks(self, denoiser: Any) -> list[Block]:
        """See `Family.blocks`."""
        return listed_blocks(denoiser, {"layers": None}, denoiser.config.dim)

    def image_spans(self, denoiser: Any, called: Mapping[str, Any]) -> list[slice] | None:
        """See `Family.image_spans`. The picture comes first."""
        patch = called["patch_size"]
        sides = [(x.shape[-2] // patch, x.shape[-1] // patch) for x in called["x"]]
        return [slice(0, height * width) for height, width in sides]

    def image_sides(self, called: Mapping[str, Any]) -> tuple[int, int]:
        """See `Family.image_sides`."""
        height, width = called["x"][0].shape[-2:]
        return height, width

    def predict(
        self, pipe: Any, x: torch.Tensor, time: torch.Tensor, condition: Condition
    ) -> torch.Tensor:
        """See `Family.predict`. The network counts time from noise, and predicts the opposite."""
        pictures = list(x.unsqueeze(2).unbind(0))  # a frame each
        found = pipe.transformer(pictures, 1 - time, condition["states"], return_dict=False)[0]
        return -torch.stack(found).squeeze(2)

    def timesteps(self, pipe: Any, steps: int, shape: Sequence[int]) -> torch.Tensor:
        """See `Family.timesteps`."""
        return set_shifted(pipe, steps, (shape[-2] // 2) * (shape[-1] // 2))

    def template(self, pipe: Any, prompt: str) -> str:
        """See `Family.template`."""
        text: str = pipe.tokenizer.apply_chat_template(
            [{"role": "user", "content": prompt}],
            tokenize=False,
            add_generation_prompt=True,
            enable_thinking=True,
        )
        return text

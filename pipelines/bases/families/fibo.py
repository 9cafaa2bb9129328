"""FIBO, whose prompts are JSON in words: z is its own language."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from pipelines.bases.clip import stack
from pipelines.bases.family import Condition, Family, set_shifted
from pipelines.bases.latents import FrameLatents


class Fibo(FrameLatents, Family):
    """See the module docstring. Each block reads a layer of the text encoder of its own.

    States are lists, as prompts differ in length: (tokens, width), and the blocks' layers side by
    side, (tokens, layers · width).
    """

    name = "fibo"
    title = "FIBO"
    pipelines = ("BriaFiboPipeline",)
    cfg, steps = 5.0, 30
    text_limit = 3000
    dialect = "fibo"
    licence = "CC BY-NC 4.0"

    def encode(self, pipe: Any, prompts: Sequence[str]) -> Condition:
        """See `Family.encode`. Each prompt is read alone, so that it needs no padding."""
        self.require_whole(pipe, prompts)
        states, layers = [], []
        for prompt in prompts:
            found = pipe.encode_prompt(
                [prompt], guidance_scale=1.0, max_sequence_length=self.text_limit
            )
            states.append(found[0][0])
            of_blocks = _of_blocks(found[5], _count_blocks(pipe.transformer))
            layers.append(torch.cat([layer[0] for layer in of_blocks], dim=-1))
        return {"states": states, "layers": layers}

    def null(self, pipe: Any, negative: str | None) -> Condition:
        """See `Family.null`."""
        return self.encode(pipe, [negative or ""])

    def blank(self, pipe: Any, count: int, like: torch.Tensor) -> Condition:
        """See `Family.blank`."""
        config = pipe.transformer.config
        wide = _count_blocks(pipe.transformer) * config.text_encoder_dim
        states = like.new_zeros(count, self.text_limit, config.joint_attention_dim)
        return {
            "states": list(states),
            "layers": list(like.new_zeros(count, self.text_limit, wide)),
        }

    def predict(
        self, pipe: Any, x: torch.Tensor, time: torch.Tensor, condition: Condition
    ) -> torch.Tensor:
        """See `Family.predict`."""
        n, _, height, width = x.shape
        states, mask = stack(condition["states"])
        layers = stack(condition["layers"])[0].unflatten(2, (_count_blocks(pipe.transformer), -1))
        options = {}
        if mask is not None:
            seen = torch.cat([mask, mask.new_ones(n, height * width)], 1).bool()
            options["attention_mask"] = seen[:, None, None]
        places = pipe._prepare_latent_image_ids(n, height, width, x.device, x.dtype)
        tokens = pipe.transformer(
            hidden_states=x.flatten(2).transpose(1, 2),
            timestep=time * 1000,
            encoder_hidden_states=states,
            text_encoder_layers=list(layers.unbind(2)),
            joint_attention_kwargs=options,
            txt_ids=places.new_zeros(states.shape[1], 3),
            img_ids=places,
            return_dict=False,
        )[0]
        predicted: torch.Tensor = tokens.transpose(1, 2).reshape(x.shape)
        return predicted

    def timesteps(self, pipe: Any, steps: int, shape: Sequence[int]) -> torch.Tensor:
        """See `Family.timesteps`."""
        return set_shifted(pipe, steps, shape[-2] * shape[-1])


def _count_blocks(transformer: Any) -> int:
    return int(transformer.config.num_layers + transformer.config.num_single_layers)


def _of_blocks(layers: Sequence[torch.Tensor], blocks: int) -> list[torch.Tensor]:
    """Give each block a layer: the last ones, the very last one again where there are too few."""
    return [*layers[-blocks:], *[layers[-1]] * (blocks - len(layers))]

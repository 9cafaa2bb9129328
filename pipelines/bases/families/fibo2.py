"""FIBO 2, whose prompts are JSON in words: z is its own language."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import torch

from pipelines.bases.clip import count_tokens, stack
from pipelines.bases.families.flux2_klein import patch_statistics
from pipelines.bases.family import Condition, Family, set_shifted
from pipelines.bases.latents import mode_of


class Fibo2(Family):
    """See the module docstring. Several layers of the text encoder are read side by side.

    States are a list, as prompts differ in length: (tokens, bundles · width). Pictures of the texts
    that are to be drawn, which the pipeline shows its text encoder, are not made.
    """

    name = "fibo2"
    title = "FIBO 2"
    pipelines = ("BriaFibo2Pipeline",)
    cfg, steps = 5.0, 30
    text_limit = 4096
    dialect = "fibo"
    null_rows = "apart"
    licence = "see the model's card"

    def encode(self, pipe: Any, prompts: Sequence[str]) -> Condition:
        """See `Family.encode`. Prompts are cleaned as the pipeline cleans them."""
        self.require_whole(pipe, prompts)
        return self._read(pipe, [_cleaned(pipe, prompt) for prompt in prompts])

    def null(self, pipe: Any, negative: str | None) -> Condition:
        """See `Family.null`. The usual one is a document whose values are all empty."""
        from diffusers.pipelines.bria_fibo2.pipeline_bria_fibo2 import DEFAULT_NEGATIVE_PROMPT

        return self._read(pipe, [DEFAULT_NEGATIVE_PROMPT if negative is None else negative])

    def _read(self, pipe: Any, texts: Sequence[str]) -> Condition:
        """Read each text alone, so that it needs no padding."""
        found = [pipe.encode_prompt([text])[0][0] for text in texts]
        return {"states": [bundles.transpose(0, 1).flatten(1) for bundles in found]}

    def blank(self, pipe: Any, count: int, like: torch.Tensor) -> Condition:
        """See `Family.blank`."""
        width = len(pipe.text_encoder_out_layers) * pipe.transformer.config.cap_feat_dim
        return {"states": list(like.new_zeros(count, self.text_limit, width))}

    def latent_shape(self, pipe: Any, height: int, width: int) -> tuple[int, int, int]:
        """See `Family.latent_shape`."""
        factor = pipe.vae_scale_factor
        return pipe.transformer.config.in_channels, height // factor, width // factor

    def to_latents(self, pipe: Any, pixels: torch.Tensor) -> torch.Tensor:
        """See `Family.to_latents`."""
        patches = pipe._patchify_latents(mode_of(pipe.vae.encode(pixels)))
        mean, deviation = patch_statistics(pipe, patches)
        whole: torch.Tensor = pipe._unpatchify_latents((patches - mean) / deviation)
        return whole

    def to_pixels(self, pipe: Any, latents: torch.Tensor) -> torch.Tensor:
        """See `Family.to_pixels`."""
        patches = pipe._patchify_latents(latents)
        mean, deviation = patch_statistics(pipe, patches)
        whole = pipe._unpatchify_latents(patches * deviation + mean)
        decoded: torch.Tensor = pipe.vae.decode(whole, return_dict=False)[0]
        return decoded

    def predict(
        self, pipe: Any, x: torch.Tensor, time: torch.Tensor, condition: Condition
    ) -> torch.Tensor:
        """See `Family.predict`."""
        states, mask = stack(condition["states"])
        bundles = states.unflatten(2, (len(pipe.text_encoder_out_layers), -1)).transpose(1, 2)
        predicted: torch.Tensor = pipe.transformer(
            hidden_states=x,
            timestep=time,
            encoder_hidden_states=bundles,
            encoder_attention_mask=None if mask is None else mask.bool(),
            return_dict=False,
        )[0]
        return predicted

    def timesteps(self, pipe: Any, steps: int, shape: Sequence[int]) -> torch.Tensor:
        """See `Family.timesteps`."""
        patch = pipe.transformer.config.patch_size
        return set_shifted(pipe, steps, (shape[-2] // patch) * (shape[-1] // patch))

    def length(self, pipe: Any, prompt: str) -> int:
        """See `Family.length`."""
        text = pipe.prompt_template_encode.format(_cleaned(pipe, prompt))
        return count_tokens(pipe.processor.tokenizer, text)


def _cleaned(pipe: Any, prompt: str) -> str:
    """Write a document as those of the training were written; any other text stays."""
    caption, _ = pipe._parse_prompt(prompt)
    if isinstance(caption, str):
        return prompt
    return json.dumps(caption or {}, separators=(",", ":"), ensure_ascii=False)

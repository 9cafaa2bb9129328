"""FLUX.2 klein."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from pipelines.bases.family import Condition, Family, set_shifted, sides_of
from pipelines.bases.image_tokens import Block, listed_blocks
from pipelines.bases.latents import mode_of


class Flux2Klein(Family):
    """See the module docstring. Latents are normalised 2 x 2 patches, (n, 128, h / 16, w / 16)."""

    name = "flux2-klein"
    title = "FLUX.2 klein"
    pipelines = ("Flux2KleinPipeline",)
    cfg, steps = 4.0, 50
    text_limit = 512
    null_rows = "apart"
    licence = "Apache 2.0 (4B) or FLUX non-commercial (9B)"

    def encode(self, pipe: Any, prompts: Sequence[str]) -> Condition:
        """See `Family.encode`. Padding is read too, so its length must not vary."""
        states, places = pipe.encode_prompt(
            prompt=list(prompts), max_sequence_length=self.text_limit
        )
        return {"states": states, "places": places.expand(len(states), -1, -1)}

    def null(self, pipe: Any, negative: str | None) -> Condition:
        """See `Family.null`."""
        return self.encode(pipe, [negative or ""])

    def blank(self, pipe: Any, count: int, like: torch.Tensor) -> Condition:
        """See `Family.blank`."""
        width = pipe.transformer.config.joint_attention_dim
        states = like.new_zeros(count, self.text_limit, width)
        return {"states": states, "places": like.new_zeros(count, self.text_limit, 4)}

    def latent_shape(self, pipe: Any, height: int, width: int) -> tuple[int, int, int]:
        """See `Family.latent_shape`."""
        factor = pipe.vae_scale_factor * 2
        return pipe.transformer.config.in_channels, height // factor, width // factor

    def to_latents(self, pipe: Any, pixels: torch.Tensor) -> torch.Tensor:
        """See `Family.to_latents`."""
        patches = pipe._patchify_latents(mode_of(pipe.vae.encode(pixels)))
        mean, deviation = patch_statistics(pipe, patches)
        return (patches - mean) / deviation

    def to_pixels(self, pipe: Any, latents: torch.Tensor) -> torch.Tensor:
        """See `Family.to_pixels`."""
        mean, deviation = patch_statistics(pipe, latents)
        whole = pipe._unpatchify_latents(latents * deviation + mean)
        decoded: torch.Tensor = pipe.vae.decode(whole, return_dict=False)[0]
        return decoded

    def blocks(self, denoiser: Any) -> list[Block]:
        """See `Family.blocks`."""
        places = {"transformer_blocks": 1, "single_transformer_blocks": None}
        return listed_blocks(denoiser, places)

    def image_spans(self, denoiser: Any, called: Mapping[str, Any]) -> list[slice] | None:
        """See `Family.image_spans`. Text comes first."""
        text, image = (called[name].shape[1] for name in ("encoder_hidden_states", "hidden_states"))
        return [slice(text, text + image)] * len(called["hidden_states"])

    def image_sides(self, called: Mapping[str, Any]) -> tuple[int, int]:
        """See `Family.image_sides`."""
        return sides_of(called["img_ids"])

    def predict(
        self, pipe: Any, x: torch.Tensor, time: torch.Tensor, condition: Condition
    ) -> torch.Tensor:
        """See `Family.predict`."""
        tokens = pipe.transformer(
            hidden_states=pipe._pack_latents(x),
            timestep=time,
            guidance=None,
            encoder_hidden_states=condition["states"],
            txt_ids=condition["places"],
            img_ids=pipe._prepare_latent_ids(x).to(x.device),
            return_dict=False,
        )[0]
        predicted: torch.Tensor = tokens.transpose(1, 2).reshape(x.shape)
        return predicted

    def timesteps(self, pipe: Any, steps: int, shape: Sequence[int]) -> torch.Tensor:
        """See `Family.timesteps`."""
        from diffusers.pipelines.flux2.pipeline_flux2_klein import compute_empirical_mu

        tokens = shape[-2] * shape[-1]
        return set_shifted(pipe, steps, tokens, compute_empirical_mu(tokens, steps))

    def template(self, pipe: Any, prompt: str) -> str:
        """See `Family.template`."""
        text: str = pipe.tokenizer.apply_chat_template(
            [{"role": "user", "content": prompt}],
            tokenize=False,
            add_generation_prompt=True,
            enable_thinking=False,
        )
        return text

    def distilled(self, config: Mapping[str, Any], denoiser: Mapping[str, Any], name: str) -> str:
        """See `Family.distilled`."""
        if config.get("is_distilled"):
            return "its model_index.json says is_distilled"
        return super().distilled(config, denoiser, name)


def patch_statistics(pipe: Any, like: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return mean and standard deviation of the patches' channels, each (1, channels, 1, 1)."""
    norm = pipe.vae.bn
    mean = norm.running_mean.view(1, -1, 1, 1).to(like.device, like.dtype)
    deviation = torch.sqrt(norm.running_var.view(1, -1, 1, 1) + pipe.vae.config.batch_norm_eps)
    return mean, deviation.to(like.device, like.dtype)

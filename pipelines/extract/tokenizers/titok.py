"""TiTok's encoder: an image as a short sequence of ids (arXiv 2406.07550, section 3.2).

Implemented from the paper, with parameter names as in the public checkpoints. The decoder is not
implemented.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import nn

SIZES = {"small": (512, 8, 8), "base": (768, 12, 12), "large": (1024, 24, 16)}
"""Name of a size in a configuration -> width, layers and heads of the vision transformer."""


@dataclass(frozen=True)
class TiTokConfig:
    """Sizes of a TiTok; the defaults are those of TiTok-L-32.

    Attributes:
        image_size: Side of the pictures in pixels.
        patch_size: Side of a patch in pixels.
        size: One of `SIZES`.
        tokens: Ids per image.
        codebook_size: Entries of the codebook.
        code_dim: Dimension of an entry.
        normalised: Whether entries are compared by cosine.
        legacy: Whether states have the layout of the first public checkpoints, see `TiTok.states`.
    """

    image_size: int = 256
    patch_size: int = 16
    size: str = "large"
    tokens: int = 32
    codebook_size: int = 4096
    code_dim: int = 12
    normalised: bool = True
    legacy: bool = True

    @classmethod
    def read(cls, config: Mapping[str, Any]) -> Self:
        """Read the sizes from a public checkpoint's ``config.json``.

        Raises:
            KeyError: If a size is missing.
            ValueError: If it describes a continuous tokenizer, or the size is unknown.
        """
        model = config["model"]["vq_model"]
        if model.get("quantize_mode", "vq") != "vq":
            raise ValueError("this TiTok has no codebook")
        if model["vit_enc_model_size"] not in SIZES:
            raise ValueError(f"vit_enc_model_size is {model['vit_enc_model_size']!r}")
        return cls(
            config["dataset"]["preprocessing"]["crop_size"],
            model["vit_enc_patch_size"],
            model["vit_enc_model_size"],
            model["num_latent_tokens"],
            model["codebook_size"],
            model["token_size"],
            model.get("use_l2_norm", False),
            model.get("is_legacy", True),
        )


class TiTok(nn.Module):
    """The encoder and its codebook.

    Args:
        config: Sizes.
    """

    def __init__(self, config: TiTokConfig) -> None:
        super().__init__()
        self.config = config
        width, _, _ = SIZES[config.size]
        self.encoder = _Encoder(config)
        self.latent_tokens = nn.Parameter(torch.randn(config.tokens, width) * width**-0.5)
        self.quantize = nn.Module()
        self.quantize.embedding = nn.Embedding(config.codebook_size, config.code_dim)

    def states(self, images: torch.Tensor) -> torch.Tensor:
        """Compute the vectors whose nearest codebook entries are the ids.

        Args:
            images: (n, 3, image_size, image_size), in [0, 1].

        Returns:
            (n, code_dim, 1, tokens).
        """
        states = self.encoder(images, self.latent_tokens)
        count, tokens, width = states.shape
        if self.config.legacy:
            # The first checkpoints were trained with (tokens, width) reshaped to (width, tokens)
            # instead of transposed; the next layer has learned this layout.
            columns = states.reshape(count, width, tokens)
        else:
            columns = states.transpose(1, 2)
        return self.encoder.conv_out(columns[..., None]).transpose(2, 3)


class _Encoder(nn.Module):
    """A vision transformer over patches, a class token and the latent tokens."""

    def __init__(self, config: TiTokConfig) -> None:
        super().__init__()
        width, layers, heads = SIZES[config.size]
        patches = (config.image_size // config.patch_size) ** 2
        self.patch_embed = nn.Conv2d(3, width, config.patch_size, config.patch_size)
        self.class_embedding = nn.Parameter(torch.zeros(1, width))
        self.positional_embedding = nn.Parameter(torch.randn(patches + 1, width) * width**-0.5)
        self.latent_token_positional_embedding = nn.Parameter(
            torch.randn(config.tokens, width) * width**-0.5
        )
        self.ln_pre = nn.LayerNorm(width)
        self.transformer = nn.ModuleList(_Block(width, heads) for _ in range(layers))
        self.ln_post = nn.LayerNorm(width)
        self.conv_out = nn.Conv2d(width, config.code_dim, 1)

    def forward(self, images: torch.Tensor, gathering: torch.Tensor) -> torch.Tensor:
        """Compute the states of the latent tokens: (n, tokens, width)."""
        count = len(images)
        patches = self.patch_embed(images).flatten(2).transpose(1, 2)
        summary = self.class_embedding.expand(count, -1, -1)
        picture = torch.cat([summary, patches], 1) + self.positional_embedding
        asked = (gathering + self.latent_token_positional_embedding).expand(count, -1, -1)
        states = self.ln_pre(torch.cat([picture, asked], 1))
        for block in self.transformer:
            states = block(states)
        return self.ln_post(states[:, picture.shape[1] :])


class _Block(nn.Module):
    """A pre-norm transformer block: attention, then an MLP."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.ln_1 = nn.LayerNorm(width)
        self.attn = nn.MultiheadAttention(width, heads, batch_first=True)
        self.ln_2 = nn.LayerNorm(width)
        self.mlp = nn.Module()
        self.mlp.c_fc = nn.Linear(width, 4 * width)
        self.mlp.c_proj = nn.Linear(4 * width, width)

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        normed = self.ln_1(states)
        states = states + self.attn(normed, normed, normed, need_weights=False)[0]
        hidden = nn.functional.gelu(self.mlp.c_fc(self.ln_2(states)))
        return states + self.mlp.c_proj(hidden)

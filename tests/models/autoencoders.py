"""Tiny autoencoders of diffusers' own classes, untrained."""

from __future__ import annotations

from pathlib import Path

import torch
from diffusers import AutoencoderDC, AutoencoderKL


def save_kl(folder: Path, **config) -> Path:
    """Save an `AutoencoderKL` that makes 4 channels of every 4 x 4 pixels."""
    torch.manual_seed(0)
    model = AutoencoderKL(
        block_out_channels=(4, 4, 8),
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        latent_channels=4,
        norm_num_groups=2,
        layers_per_block=1,
        mid_block_add_attention=False,
        **config,
    )
    model.save_pretrained(folder)
    return folder


def save_dc(folder: Path) -> Path:
    """Save an `AutoencoderDC` that makes 4 channels of every 4 x 4 pixels."""
    torch.manual_seed(0)
    layers, channels, plain = (1, 1, 1), (4, 4, 8), ((), (), ())
    model = AutoencoderDC(
        latent_channels=4,
        attention_head_dim=4,
        encoder_block_out_channels=channels,
        decoder_block_out_channels=channels,
        encoder_layers_per_block=layers,
        decoder_layers_per_block=layers,
        encoder_qkv_multiscales=plain,
        decoder_qkv_multiscales=plain,
        scaling_factor=0.41407,
    )
    model.save_pretrained(folder)
    return folder

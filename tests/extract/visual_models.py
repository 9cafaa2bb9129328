"""Tiny visual tokenizers of the real classes, saved as their makers save them."""

from __future__ import annotations

import json
from pathlib import Path

import torch
import transformers as tf
from diffusers import VQModel
from safetensors.torch import save_file

from pipelines.extract.tokenizers.llamagen import LlamaGenConfig, LlamaGenTokenizer
from pipelines.extract.tokenizers.titok import TiTok, TiTokConfig

LLAMAGEN = {"codebook_size": 2000, "codebook_embed_dim": 4, "encoder_ch_mult": [1, 1, 1]}
TITOK = {
    "model": {
        "vq_model": {
            "codebook_size": 4096,
            "token_size": 12,
            "use_l2_norm": True,
            "vit_enc_model_size": "large",
            "vit_enc_patch_size": 16,
            "num_latent_tokens": 32,
        }
    },
    "dataset": {"preprocessing": {"crop_size": 256}},
}
"""What TiTok-L-32's own ``config.json`` says of the encoder."""

SMALL = {
    "base_channels": 32,
    "channel_multiplier": [1, 1],
    "num_res_blocks": 1,
    "latent_channels": 32,
    "embed_dim": 4,
}


def diffusers(folder: Path) -> None:
    """A VQModel of two levels."""
    torch.manual_seed(0)
    model = VQModel(
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        block_out_channels=(32, 32),
        num_vq_embeddings=1500,
        vq_embed_dim=4,
    )
    model.save_pretrained(folder)


def chameleon(folder: Path) -> None:
    """Chameleon's, for 32 pixels."""
    config = tf.ChameleonVQVAEConfig(**SMALL, num_embeddings=1500, resolution=32)
    _save(folder, tf.ChameleonVQVAE, config)


def janus(folder: Path) -> None:
    """Janus's, for 32 pixels."""
    config = tf.JanusVQVAEConfig(**SMALL, num_embeddings=1500, num_patches=16)
    _save(folder, tf.JanusVQVAE, config)


def emu3(folder: Path) -> None:
    """Emu3's."""
    config = tf.Emu3VQVAEConfig(
        **SMALL | {"latent_channels": 4},
        codebook_size=1500,
        temporal_downsample_factor=2,
        hidden_size=32,
        attn_resolutions=[1],
    )
    _save(folder, tf.Emu3VQVAE, config)


def llamagen(folder: Path) -> None:
    """LlamaGen's, of three levels."""
    torch.manual_seed(0)
    _write(folder, LLAMAGEN, LlamaGenTokenizer(LlamaGenConfig.read(LLAMAGEN)).state_dict())


def titok(folder: Path) -> None:
    """TiTok's; the test makes the size that its configuration names a tiny one."""
    torch.manual_seed(0)
    config = json.loads(json.dumps(TITOK))
    config["model"]["vq_model"] |= {"num_latent_tokens": 8, "vit_enc_patch_size": 8}
    config["dataset"]["preprocessing"]["crop_size"] = 32
    _write(folder, config, TiTok(TiTokConfig.read(config)).state_dict())


def _write(folder: Path, config: dict, weights: dict[str, torch.Tensor]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config))
    # The public files hold the decoder as well.
    save_file(weights | {"decoder.conv_in.bias": torch.zeros(3)}, folder / "model.safetensors")


def _save(folder: Path, network, config) -> None:
    torch.manual_seed(0)
    network(config).save_pretrained(folder)

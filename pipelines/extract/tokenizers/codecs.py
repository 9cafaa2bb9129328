"""One interface to the visual tokenizers of diffusers and transformers, TiTok and LlamaGen."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from pipelines.extract.tokenizers.base import TokenizerRef
from pipelines.extract.tokenizers.llamagen import LlamaGenConfig, LlamaGenTokenizer
from pipelines.extract.tokenizers.titok import TiTok, TiTokConfig
from pipelines.models.preprocessing import Preprocessing, read_preprocessing


@dataclass(frozen=True)
class Codec:
    """A network and how its ids are found.

    Attributes:
        network: A module of any library.
        states: Prepared images (n, 3, h, w) -> vectors (n, width, rows, columns).
        codebook: The layer with the entries.
        preprocessing: How pictures are prepared for it.
        normalised: Whether entries are compared by direction only.
    """

    network: torch.nn.Module
    states: Callable[[torch.Tensor], torch.Tensor]
    codebook: torch.nn.Embedding
    preprocessing: Preprocessing
    normalised: bool = False


def build(ref: TokenizerRef) -> Codec:
    """Build a tokenizer's network by its configuration, without its weights.

    Raises:
        Exception: What the libraries raise if the configuration is not right.
    """
    return _BUILDERS[ref.family](ref)


def _diffusers(ref: TokenizerRef) -> Codec:
    from diffusers import VQModel

    network = VQModel.from_config(dict(ref.config))
    prepare = Preprocessing(stride=2 ** (len(network.config.block_out_channels) - 1))
    if ref.from_zero:
        prepare = Preprocessing(prepare.stride, mean=(0.0,) * 3, std=(1.0,) * 3)
    return Codec(
        network,
        lambda images: network.encode(images).latents,
        network.quantize.embedding,
        prepare,
    )


def _chameleon(ref: TokenizerRef) -> Codec:
    from transformers import ChameleonVQVAE, ChameleonVQVAEConfig

    config = ChameleonVQVAEConfig.from_dict(_vq_config(ref))
    network = ChameleonVQVAE(config)
    prepare = Preprocessing(
        stride=2 ** (len(config.channel_multiplier) - 1), side=config.resolution
    )
    return Codec(
        network,
        lambda images: network.quant_conv(network.encoder(images)),
        network.quantize.embedding,
        read_preprocessing(ref.folder, prepare),
    )


def _janus(ref: TokenizerRef) -> Codec:
    from transformers import JanusVQVAE, JanusVQVAEConfig

    config = JanusVQVAEConfig.from_dict(_vq_config(ref))
    network = JanusVQVAE(config)
    stride = 2 ** (len(config.channel_multiplier) - 1)
    # Entries are read by direction (transformers decodes them so), hence chosen by it too.
    return Codec(
        network,
        lambda images: network.quant_conv(network.encoder(images)),
        network.quantize.embedding,
        read_preprocessing(ref.folder, Preprocessing(stride, side=stride * config.num_patches)),
        normalised=True,
    )


def _emu3(ref: TokenizerRef) -> Codec:
    from transformers import Emu3VQVAE, Emu3VQVAEConfig

    config = Emu3VQVAEConfig.from_dict(_vq_config(ref))
    network = Emu3VQVAE(config)

    def states(images: torch.Tensor) -> torch.Tensor:
        # It reads videos; a picture is a still video of as many frames as one id spans.
        video = images[:, None].repeat(1, config.temporal_downsample_factor, 1, 1, 1)
        return network.quant_conv(network.encoder(video).transpose(1, 2))[:, :, 0]

    prepare = Preprocessing(stride=2 ** (len(config.channel_multiplier) - 1))
    return Codec(
        network, states, network.quantize.embedding, read_preprocessing(ref.folder, prepare)
    )


def _titok(ref: TokenizerRef) -> Codec:
    config = TiTokConfig.read(ref.config)
    network = TiTok(config)
    prepare = Preprocessing(config.patch_size, config.image_size, mean=(0.0,) * 3, std=(1.0,) * 3)
    return Codec(network, network.states, network.quantize.embedding, prepare, config.normalised)


def _llamagen(ref: TokenizerRef) -> Codec:
    config = LlamaGenConfig.read(ref.config)
    network = LlamaGenTokenizer(config)
    prepare = Preprocessing(config.stride)
    return Codec(
        network, network.states, network.quantize.embedding, prepare, config.codebook_l2_norm
    )


def _vq_config(ref: TokenizerRef) -> dict[str, Any]:
    """Return the tokenizer's configuration, which in a larger checkpoint is a part."""
    return dict(ref.config.get("vq_config") or ref.config)


_BUILDERS: dict[str, Callable[[TokenizerRef], Codec]] = {
    "diffusers": _diffusers,
    "chameleon": _chameleon,
    "janus": _janus,
    "emu3": _emu3,
    "titok": _titok,
    "llamagen": _llamagen,
}

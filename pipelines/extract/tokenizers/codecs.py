"""The visual tokenizers of diffusers and transformers, TiTok and LlamaGen, as one thing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from pipelines.extract.tokenizers.llamagen import LlamaGenConfig, LlamaGenTokenizer
from pipelines.extract.tokenizers.model import VisualModel
from pipelines.extract.tokenizers.titok import TiTok, TiTokConfig
from pipelines.models.preprocessing import Look, read_look


@dataclass(frozen=True)
class Codec:
    """A network and how its ids are found.

    Attributes:
        network: Of any library.
        states: Images (n, 3, h, w), as `look` makes them -> vectors (n, width, rows, columns).
        codebook: The layer with the entries.
        look: How it wants its pictures.
        normalised: Whether entries are compared by direction alone.
    """

    network: torch.nn.Module
    states: Callable[[torch.Tensor], torch.Tensor]
    codebook: torch.nn.Embedding
    look: Look
    normalised: bool = False


def build(model: VisualModel) -> Codec:
    """Build a tokenizer's network by its configuration, without its weights.

    Raises:
        Exception: What the libraries raise if the configuration is not right.
    """
    return _BUILDERS[model.family](model)


def _diffusers(model: VisualModel) -> Codec:
    from diffusers import VQModel

    network = VQModel.from_config(dict(model.config))
    look = Look(stride=2 ** (len(network.config.block_out_channels) - 1))
    if model.from_zero:
        look = Look(look.stride, mean=(0.0,) * 3, std=(1.0,) * 3)
    return Codec(
        network, lambda images: network.encode(images).latents, network.quantize.embedding, look
    )


def _chameleon(model: VisualModel) -> Codec:
    from transformers import ChameleonVQVAE, ChameleonVQVAEConfig

    config = ChameleonVQVAEConfig.from_dict(_vq_config(model))
    network = ChameleonVQVAE(config)
    look = Look(stride=2 ** (len(config.channel_multiplier) - 1), side=config.resolution)
    return Codec(
        network,
        lambda images: network.quant_conv(network.encoder(images)),
        network.quantize.embedding,
        read_look(model.folder, look),
    )


def _janus(model: VisualModel) -> Codec:
    from transformers import JanusVQVAE, JanusVQVAEConfig

    config = JanusVQVAEConfig.from_dict(_vq_config(model))
    network = JanusVQVAE(config)
    stride = 2 ** (len(config.channel_multiplier) - 1)
    # Entries are read by direction (transformers decodes them so), hence chosen by it too.
    return Codec(
        network,
        lambda images: network.quant_conv(network.encoder(images)),
        network.quantize.embedding,
        read_look(model.folder, Look(stride, side=stride * config.num_patches)),
        normalised=True,
    )


def _emu3(model: VisualModel) -> Codec:
    from transformers import Emu3VQVAE, Emu3VQVAEConfig

    config = Emu3VQVAEConfig.from_dict(_vq_config(model))
    network = Emu3VQVAE(config)

    def states(images: torch.Tensor) -> torch.Tensor:
        # It reads films; a picture is a film that stands still, of as many frames as one id spans.
        film = images[:, None].repeat(1, config.temporal_downsample_factor, 1, 1, 1)
        return network.quant_conv(network.encoder(film).transpose(1, 2))[:, :, 0]

    look = Look(stride=2 ** (len(config.channel_multiplier) - 1))
    return Codec(network, states, network.quantize.embedding, read_look(model.folder, look))


def _titok(model: VisualModel) -> Codec:
    config = TiTokConfig.read(model.config)
    network = TiTok(config)
    look = Look(config.patch_size, config.image_size, mean=(0.0,) * 3, std=(1.0,) * 3)
    return Codec(network, network.states, network.quantize.embedding, look, config.normalised)


def _llamagen(model: VisualModel) -> Codec:
    config = LlamaGenConfig.read(model.config)
    network = LlamaGenTokenizer(config)
    look = Look(config.stride)
    return Codec(network, network.states, network.quantize.embedding, look, config.codebook_l2_norm)


def _vq_config(model: VisualModel) -> dict[str, Any]:
    """The tokenizer's configuration, which in a larger checkpoint is a part of that one's."""
    return dict(model.config.get("vq_config") or model.config)


_BUILDERS: dict[str, Callable[[VisualModel], Codec]] = {
    "diffusers": _diffusers,
    "chameleon": _chameleon,
    "janus": _janus,
    "emu3": _emu3,
    "titok": _titok,
    "llamagen": _llamagen,
}

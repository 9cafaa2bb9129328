"""LlamaGen's encoder against that of Janus in transformers, which has the same layers."""

from __future__ import annotations

import re

import torch
import transformers as tf

from pipelines.extract.tokenizers.llamagen import LlamaGenConfig, LlamaGenTokenizer

CONFIG = LlamaGenConfig(
    codebook_size=64, codebook_embed_dim=4, encoder_ch_mult=(1, 2), z_channels=32
)
RENAMED = (
    (r"^encoder\.down\.(\d+)\.block\.", r"encoder.conv_blocks.\1.res."),
    (r"^encoder\.down\.", "encoder.conv_blocks."),
    (r"^encoder\.mid\.block_1\.", "encoder.mid.0."),
    (r"^encoder\.mid\.attn_1\.", "encoder.mid.1."),
    (r"^encoder\.mid\.block_2\.", "encoder.mid.2."),
)


def test_states_are_those_of_janus():
    torch.manual_seed(0)
    config = tf.JanusVQVAEConfig(
        channel_multiplier=[1, 2], embed_dim=4, latent_channels=32, num_embeddings=64, num_patches=8
    )
    theirs = tf.JanusVQVAE(config).eval()
    weights = {}
    for name, value in theirs.state_dict().items():
        for pattern, name_here in RENAMED:
            name = re.sub(pattern, name_here, name)
        weights[name] = value
    ours = LlamaGenTokenizer(CONFIG)
    missing, more = ours.load_state_dict(weights, strict=False)
    assert missing == []
    assert all(name.startswith(("decoder.", "post_quant_conv.")) for name in more)
    images = torch.rand(2, 3, 16, 16) * 2.0 - 1.0
    with torch.no_grad():
        expected = theirs.quant_conv(theirs.encoder(images))
        torch.testing.assert_close(ours.states(images), expected)


def test_the_defaults_are_those_of_vq_16():
    config = LlamaGenConfig.read({"encoder_ch_mult": [1, 1, 2, 2, 4], "dropout_p": 0.0})
    assert (config.stride, config.codebook_size, config.codebook_embed_dim) == (16, 16384, 8)

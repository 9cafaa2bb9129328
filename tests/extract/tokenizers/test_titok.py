"""TiTok's encoder: names of the public checkpoints, and torch's own transformer as a yardstick."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from pipelines.extract.tokenizers import titok
from pipelines.extract.tokenizers.titok import TiTok, TiTokConfig

CONFIG = {
    "model": {
        "vq_model": {
            "codebook_size": 64,
            "token_size": 4,
            "use_l2_norm": True,
            "vit_enc_model_size": "small",
            "vit_enc_patch_size": 8,
            "num_latent_tokens": 6,
        }
    },
    "dataset": {"preprocessing": {"crop_size": 16}},
}
BLOCK = {
    "attn.in_proj_bias",
    "attn.in_proj_weight",
    "attn.out_proj.bias",
    "attn.out_proj.weight",
} | {
    f"{layer}.{part}"
    for layer in ("ln_1", "ln_2", "mlp.c_fc", "mlp.c_proj")
    for part in ("weight", "bias")
}
NAMES = (
    {"latent_tokens", "quantize.embedding.weight"}
    | {
        f"encoder.{name}"
        for name in ("class_embedding", "latent_token_positional_embedding", "positional_embedding")
    }
    | {
        f"encoder.{layer}.{part}"
        for layer in ("conv_out", "ln_post", "ln_pre", "patch_embed")
        for part in ("weight", "bias")
    }
)


@pytest.fixture
def network(monkeypatch):
    monkeypatch.setitem(titok.SIZES, "small", (16, 2, 2))
    torch.manual_seed(0)
    return TiTok(TiTokConfig.read(CONFIG)).eval()


def test_parameters_have_the_names_of_the_public_checkpoints(network):
    blocks = {f"encoder.transformer.{index}.{name}" for index in range(2) for name in BLOCK}
    assert set(network.state_dict()) == NAMES | blocks


def test_blocks_are_those_of_a_transformer(network):
    states = torch.randn(2, 5, 16)
    for block in network.encoder.transformer:
        theirs = nn.TransformerEncoderLayer(
            16, 2, 64, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
        )
        renamed = {
            name.replace("ln_", "norm").replace("mlp.c_fc", "linear1")
            .replace("mlp.c_proj", "linear2").replace("attn.", "self_attn."): value
            for name, value in block.state_dict().items()
        }  # fmt: skip
        theirs.load_state_dict(renamed)
        torch.testing.assert_close(block(states), theirs(states))


def test_old_checkpoints_lay_their_states_out_otherwise(network):
    images = torch.rand(2, 3, 16, 16)
    with torch.no_grad():
        legacy = network.states(images)
        network.config = TiTokConfig(**vars(network.config) | {"legacy": False})
        straight = network.states(images)
        states = network.encoder(images, network.latent_tokens)
    weight, bias = network.encoder.conv_out.weight[:, :, 0, 0], network.encoder.conv_out.bias
    assert legacy.shape == straight.shape == (2, 4, 1, 6)
    torch.testing.assert_close(straight[:, :, 0].mT, states @ weight.T + bias)
    mixed = states.reshape(2, 16, 6).mT @ weight.T + bias
    torch.testing.assert_close(legacy[:, :, 0].mT, mixed)


def test_the_defaults_are_those_of_titok_l_32():
    config = TiTokConfig()
    assert (config.tokens, config.codebook_size, titok.SIZES[config.size][0]) == (32, 4096, 1024)


def test_what_is_no_tokenizer_of_this_kind_is_told():
    continuous = {"model": {"vq_model": CONFIG["model"]["vq_model"] | {"quantize_mode": "vae"}}}
    with pytest.raises(ValueError, match="no codebook"):
        TiTokConfig.read(CONFIG | continuous)
    huge = {"model": {"vq_model": CONFIG["model"]["vq_model"] | {"vit_enc_model_size": "huge"}}}
    with pytest.raises(ValueError, match="'huge'"):
        TiTokConfig.read(CONFIG | huge)

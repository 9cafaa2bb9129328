"""The prior: what it takes for a pretrained T5, and the grammar that it draws by."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import (
    BertConfig,
    BertModel,
    GPT2Config,
    GPT2LMHeadModel,
    MT5Config,
    MT5ForConditionalGeneration,
    T5ForConditionalGeneration,
)

from pipelines.core.errors import KaleidoError
from pipelines.latents.vocabulary import train_tokenizer
from pipelines.models.prior import Prior, build_prior, load_pretrained
from pipelines.workspace.settings import PriorSettings

SETTINGS = PriorSettings(d_model=16, d_ff=16, layers=1, heads=2, z_kinds=("boxes", "palette"))


@pytest.fixture(scope="module")
def prior() -> Prior:
    """A tiny untrained one over boxes and palette."""
    torch.manual_seed(0)
    return build_prior(SETTINGS, train_tokenizer(["a red circle"], 1500), ("circle",))


def _load(folder: Path, **changes) -> Prior:
    return load_pretrained(replace(SETTINGS, pretrained=str(folder), **changes), ())


def _save(model, prior: Prior, folder: Path) -> Path:
    model.save_pretrained(folder)
    prior.tokenizer.save_pretrained(folder)
    return folder


def test_a_grammar_is_made_once(prior) -> None:
    assert prior.grammar(["boxes"]) is prior.grammar(("boxes",))
    assert prior.grammar(["boxes"]) is not prior.grammar(["palette"])


def test_limits_of_the_grammar_are_noted_where_they_are_not_the_usual_ones(prior, tmp_path) -> None:
    prior.save(tmp_path / "usual")
    usual = (tmp_path / "usual" / "kaleido.json").read_text()
    assert "max_label_tokens" not in usual and "max_description_tokens" not in usual
    wide = Prior.load(tmp_path / "usual")
    wide.max_label_tokens, wide.max_description_tokens = 12, 300
    wide.save(tmp_path / "wide")
    again = Prior.load(tmp_path / "wide")
    assert (again.max_label_tokens, again.max_description_tokens) == (12, 300)


@pytest.mark.parametrize("tied", [False, True])
def test_a_t5_is_taken_whole_with_the_dropout_of_the_settings(prior, tmp_path, tied) -> None:
    config = type(prior.model.config)(**prior.model.config.to_dict() | {"dropout_rate": 0.3})
    config.tie_word_embeddings = tied
    model = T5ForConditionalGeneration(config)
    loaded = _load(_save(model, prior, tmp_path), dropout=0.2).model
    block = "decoder.block.0.layer.1.EncDecAttention.q.weight"
    assert torch.equal(loaded.state_dict()[block], model.state_dict()[block])
    assert loaded.config.dropout_rate == 0.2
    parts = [part for part in loaded.modules() if isinstance(part, torch.nn.Dropout)]
    assert parts and all(part.p == 0.2 for part in parts)


def test_an_mt5_is_one_too(prior, tmp_path) -> None:
    sizes = {"d_model": 16, "d_kv": 8, "d_ff": 16, "num_layers": 1, "num_heads": 2}
    model = MT5ForConditionalGeneration(MT5Config(vocab_size=len(prior.tokenizer), **sizes))
    loaded = _load(_save(model, prior, tmp_path)).model
    assert torch.equal(loaded.lm_head.weight[:2], model.lm_head.weight[:2])


def test_other_models_are_refused(prior, tmp_path) -> None:
    gpt = GPT2LMHeadModel(GPT2Config(n_embd=16, n_layer=1, n_head=2, vocab_size=1500))
    bert = BertModel(
        BertConfig(
            hidden_size=16,
            num_hidden_layers=1,
            num_attention_heads=2,
            intermediate_size=16,
            vocab_size=1500,
        )
    )
    for name, model in (("gpt2", gpt), ("bert", bert)):
        folder = _save(model, prior, tmp_path / name)
        with pytest.raises(KaleidoError, match=f"no T5 can be loaded.*model_type is '{name}'"):
            _load(folder)


def test_a_t5_that_lacks_weights_is_refused(prior, tmp_path) -> None:
    path = _save(prior.model, prior, tmp_path) / "model.safetensors"
    weights = load_file(path)
    del weights["decoder.final_layer_norm.weight"]
    save_file(weights, path, {"format": "pt"})
    with pytest.raises(KaleidoError, match=r"lacks weights: decoder.final_layer_norm.weight"):
        _load(tmp_path)
    weights["decoder.final_layer_norm.weight"] = torch.ones(3)
    save_file(weights, path, {"format": "pt"})
    with pytest.raises(KaleidoError, match="no T5 can be loaded"):
        _load(tmp_path)

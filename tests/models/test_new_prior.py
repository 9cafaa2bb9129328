"""Loading pretrained T5 models with their heads, and adding the tokens of z."""

from __future__ import annotations

import json
import math
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
    T5Tokenizer,
)

from pipelines.core.errors import KaleidoError
from pipelines.latents.text import NUMBERS
from pipelines.models.prior import Prior
from tests.models.conftest import ROWS, load_base


def _save(model, prior: Prior, folder: Path) -> Path:
    model.save_pretrained(folder)
    prior.tokenizer.save_pretrained(folder)
    return folder


@pytest.mark.parametrize("tied", [False, True])
def test_a_t5_is_taken_whole_with_the_dropout_of_the_settings(prior, tmp_path, tied) -> None:
    config = type(prior.model.config)(**prior.model.config.to_dict() | {"dropout_rate": 0.3})
    config.tie_word_embeddings = tied
    model = T5ForConditionalGeneration(config)
    loaded = load_base(_save(model, prior, tmp_path), dropout=0.2).model
    block = "decoder.block.0.layer.1.EncDecAttention.q.weight"
    assert torch.equal(loaded.state_dict()[block], model.state_dict()[block])
    assert loaded.config.dropout_rate == 0.2
    parts = [part for part in loaded.modules() if isinstance(part, torch.nn.Dropout)]
    assert parts and all(part.p == 0.2 for part in parts)


def _losses(model, ids: torch.Tensor, caption: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        logits = model(input_ids=caption, labels=ids).logits
    return torch.nn.functional.cross_entropy(logits[0], ids[0], reduction="none")


def test_the_head_of_a_flan_t5_is_kept_as_its_vocabulary_grows(flan) -> None:
    weights = load_file(flan / "model.safetensors")
    grown = load_base(flan)
    known = len(T5Tokenizer.from_pretrained(flan))
    shared, head = grown.model.shared.weight, grown.model.lm_head.weight
    assert head is not shared
    assert len(head) == len(shared) == len(grown.tokenizer) > ROWS
    assert torch.equal(head[:known], weights["lm_head.weight"][:known])
    assert torch.equal(shared[:known], weights["shared.weight"][:known])
    assert grown.model.encoder.embed_tokens.weight is shared
    assert grown.model.decoder.embed_tokens.weight is shared
    assert grown.model.config.scale_decoder_outputs is False


def test_the_first_loss_is_that_of_the_checkpoints_own_head(flan) -> None:
    own = T5ForConditionalGeneration.from_pretrained(flan).eval()
    grown = load_base(flan)
    grown.model.eval()
    known = len(T5Tokenizer.from_pretrained(flan))
    caption, _ = grown.tokenize(["a red circle"])
    words, _ = grown.tokenize_z(["red circle a circle"])
    assert words.max() < known
    before = _losses(own, words, caption)
    # New tokens take the share that as many known ones would.
    expected = before + math.log(len(grown.tokenizer) / ROWS)
    assert abs(_losses(grown.model, words, caption) - expected).max() < 0.15
    z, _ = grown.tokenize_z(["<boxes> circle <120><330><410><620> <palette> <612><500><100><200>"])
    assert _losses(grown.model, z, caption).mean() < math.log(len(grown.tokenizer)) + 0.5


def test_new_rows_are_distributed_like_those_of_known_tokens(flan) -> None:
    grown = load_base(flan)
    known = len(T5Tokenizer.from_pretrained(flan))
    for table in (grown.model.shared.weight, grown.model.lm_head.weight):
        (spread, mean), (old_spread, old_mean) = (
            torch.std_mean(part, 0) for part in (table[known:], table[:known])
        )
        assert (mean - old_mean).abs().max() < 0.35 * old_spread.mean()
        assert 0.7 < spread.mean() / old_spread.mean() < 1.3
        numbers = table[grown.tokenizer.convert_tokens_to_ids(list(NUMBERS))]
        near, far = numbers[1:] - numbers[:-1], numbers[500:] - numbers[:501]
        assert near.norm(dim=1).mean() < 0.5 * far.norm(dim=1).mean()


def test_a_prior_of_ours_keeps_what_it_has_learned_of_numbers(prior, tmp_path) -> None:
    prior.save(tmp_path)
    assert torch.equal(load_base(tmp_path).model.shared.weight, prior.model.shared.weight)


def test_an_mt5_is_one_too(flan, tmp_path) -> None:
    weights = load_file(flan / "model.safetensors")
    config = json.loads((flan / "config.json").read_text())
    model = MT5ForConditionalGeneration(MT5Config(**config | {"model_type": "mt5"}))
    assert set(model.state_dict()) >= set(weights)
    written = config | {"model_type": "mt5", "architectures": ["MT5ForConditionalGeneration"]}
    (flan / "config.json").write_text(json.dumps(written))
    loaded = load_base(flan).model
    known = len(T5Tokenizer.from_pretrained(flan))
    assert torch.equal(loaded.lm_head.weight[:known], weights["lm_head.weight"][:known])
    assert loaded.config.scale_decoder_outputs is False


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
        with pytest.raises(KaleidoError, match=f"model_type is '{name}'") as caught:
            load_base(folder)
        assert caught.value.code == "bad-model"


def test_a_t5_that_lacks_weights_is_refused(prior, tmp_path) -> None:
    path = _save(prior.model, prior, tmp_path) / "model.safetensors"
    weights = load_file(path)
    del weights["decoder.final_layer_norm.weight"]
    save_file(weights, path, {"format": "pt"})
    with pytest.raises(KaleidoError) as caught:
        load_base(tmp_path)
    assert caught.value.code == "bad-model"
    weights["decoder.final_layer_norm.weight"] = torch.ones(3)
    save_file(weights, path, {"format": "pt"})
    with pytest.raises(KaleidoError) as caught:
        load_base(tmp_path)
    assert caught.value.code == "bad-model"

"""The prior: loading pretrained T5 models with their heads, and freezing their encoders."""

from __future__ import annotations

import json
import math
import string
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
    T5Config,
    T5ForConditionalGeneration,
    T5Tokenizer,
)

from pipelines.core.errors import KaleidoError
from pipelines.latents.text import NUMBERS
from pipelines.latents.vocabulary import special_tokens, train_tokenizer
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


KNOWN = ("▁", "▁a", "▁red", "▁circle", *string.ascii_letters, *string.digits, *string.punctuation)
ROWS = 160
"""Of the matrices of `flan`: more than its tokenizer has tokens, as in every published T5."""


@pytest.fixture
def flan(tmp_path) -> Path:
    """A tiny flan-T5 as the hub has them: a head of its own, gated GELU, a padded vocabulary."""
    torch.manual_seed(1)
    base = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0)]
    vocabulary = base + [(piece, -2.0 - 0.01 * at) for at, piece in enumerate(KNOWN)]
    tokenizer = T5Tokenizer(vocab=vocabulary, extra_ids=10)
    assert len(tokenizer) < ROWS < len(tokenizer) + len(NUMBERS)
    sizes = {"d_model": 16, "d_kv": 8, "d_ff": 16, "num_layers": 2, "num_heads": 2}
    config = T5Config(
        vocab_size=ROWS,
        feed_forward_proj="gated-gelu",
        tie_word_embeddings=False,
        decoder_start_token_id=0,
        **sizes,
    )
    model = T5ForConditionalGeneration(config)
    model.lm_head.weight = torch.nn.Parameter(0.1 * torch.randn(ROWS, 16) - 0.2)
    model.config.tie_word_embeddings = False
    folder = tmp_path / "flan"
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    path = folder / "config.json"
    values = json.loads(path.read_text())
    del values["scale_decoder_outputs"]  # transformers 4 wrote none
    path.write_text(json.dumps(values))
    return folder


def _losses(model, ids: torch.Tensor, caption: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        logits = model(input_ids=caption, labels=ids).logits
    return torch.nn.functional.cross_entropy(logits[0], ids[0], reduction="none")


def test_the_head_of_a_flan_t5_is_kept_as_its_vocabulary_grows(flan) -> None:
    weights = load_file(flan / "model.safetensors")
    grown = _load(flan)
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
    grown = _load(flan)
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
    grown = _load(flan)
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


def test_an_untied_head_is_saved_and_loaded(flan, tmp_path) -> None:
    grown = _load(flan)
    grown.model.eval()
    grown.save(tmp_path / "prior")
    assert json.loads((tmp_path / "prior" / "kaleido.json").read_text())["head_tied"] is False
    again = Prior.load(tmp_path / "prior")
    assert again.identity == grown.identity
    z, _ = grown.tokenize_z(["<boxes> circle <120><330><410><620>"])
    with torch.no_grad():
        first, second = (each.z_logits(each.encode(["a red circle"]), z) for each in (grown, again))
    assert torch.equal(first, second)
    weights = load_file(tmp_path / "prior" / "model.safetensors")
    del weights["lm_head.weight"]
    save_file(weights, tmp_path / "prior" / "model.safetensors", {"format": "pt"})
    with pytest.raises(KaleidoError) as caught:
        Prior.load(tmp_path / "prior")
    assert caught.value.code == "bad-model"


def _train(prior: Prior, steps: int = 3) -> None:
    """Take a few steps as the trainer does."""
    learned = [value for value in prior.model.parameters() if value.requires_grad]
    optimizer = torch.optim.AdamW(learned, 0.1, weight_decay=0.0)
    z, _ = prior.tokenize_z(["<boxes> circle <120><330><410><620>"])
    for _ in range(steps):
        prior.model.train()
        logits = prior.z_logits(prior.encode(["a red circle"]), z)
        torch.nn.functional.cross_entropy(logits[0], z[0]).backward()
        optimizer.step()
        optimizer.zero_grad()
    prior.model.eval()


@pytest.mark.parametrize("tied", [False, True])
def test_a_frozen_encoder_does_not_move_while_the_tokens_of_z_learn(flan, tied) -> None:
    if tied:  # as T5 1.0 is
        weights = load_file(flan / "model.safetensors")
        del weights["lm_head.weight"]
        save_file(weights, flan / "model.safetensors", {"format": "pt"})
    prior = _load(flan, dropout=0.5)
    assert (prior.model.lm_head.weight is prior.model.shared.weight) == tied
    before = {name: value.clone() for name, value in prior.model.state_dict().items()}
    prior.model.train()
    states = prior.encode(["a red circle"]).values
    assert not states.requires_grad
    _train(prior)
    assert torch.equal(prior.encode(["a red circle"]).values, states)
    changed = (prior.model.shared.weight != before["shared.weight"]).any(-1).nonzero().flatten()
    special = set(prior.tokenizer.convert_tokens_to_ids(list(special_tokens(SETTINGS.z_kinds))))
    assert set(changed.tolist()) <= special
    assert prior.tokenizer.convert_tokens_to_ids("<330>") in changed
    after = prior.model.state_dict()
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert moved == {
        "shared.weight",
        "encoder.embed_tokens.weight",  # the same matrix
        "lm_head.weight",
        *(name for name in before if name.startswith("decoder.")),
    }


def test_a_prior_of_ours_keeps_what_it_has_learned_of_numbers(prior, tmp_path) -> None:
    prior.save(tmp_path)
    assert torch.equal(_load(tmp_path).model.shared.weight, prior.model.shared.weight)


def test_an_mt5_is_one_too(flan, tmp_path) -> None:
    weights = load_file(flan / "model.safetensors")
    config = json.loads((flan / "config.json").read_text())
    model = MT5ForConditionalGeneration(MT5Config(**config | {"model_type": "mt5"}))
    assert set(model.state_dict()) >= set(weights)
    written = config | {"model_type": "mt5", "architectures": ["MT5ForConditionalGeneration"]}
    (flan / "config.json").write_text(json.dumps(written))
    loaded = _load(flan).model
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
            _load(folder)
        assert caught.value.code == "bad-model"


def test_a_t5_that_lacks_weights_is_refused(prior, tmp_path) -> None:
    path = _save(prior.model, prior, tmp_path) / "model.safetensors"
    weights = load_file(path)
    del weights["decoder.final_layer_norm.weight"]
    save_file(weights, path, {"format": "pt"})
    with pytest.raises(KaleidoError) as caught:
        _load(tmp_path)
    assert caught.value.code == "bad-model"
    weights["decoder.final_layer_norm.weight"] = torch.ones(3)
    save_file(weights, path, {"format": "pt"})
    with pytest.raises(KaleidoError) as caught:
        _load(tmp_path)
    assert caught.value.code == "bad-model"


@torch.no_grad()
def test_the_state_of_a_token_of_z_has_read_it_and_those_before(prior) -> None:
    prior.model.eval()
    caption = prior.encode(["a red circle"])
    texts = [f"<boxes> circle <120><330><{right}><620>" for right in (410, 510)]
    one, other = (prior.z_states(caption, prior.read_z([text])).values[0] for text in texts)
    ids = [prior.tokenize_z([text])[0][0] for text in texts]
    changed = int((ids[0] != ids[1]).nonzero())
    hidden = (one != other)[:, : prior.width].any(-1)
    assert not hidden[:changed].any()
    assert hidden[changed]

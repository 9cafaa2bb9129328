"""The prior: saving and loading, freezing its encoder, and the states of z."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from pipelines.core.errors import KaleidoError
from pipelines.latents.vocabulary import special_tokens
from pipelines.models.prior import Prior
from tests.models.conftest import SETTINGS, load_base


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


def test_an_untied_head_is_saved_and_loaded(flan, tmp_path) -> None:
    grown = load_base(flan)
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


def train_steps(prior: Prior, steps: int = 3) -> None:
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
    prior = load_base(flan, dropout=0.5)
    assert (prior.model.lm_head.weight is prior.model.shared.weight) == tied
    before = {name: value.clone() for name, value in prior.model.state_dict().items()}
    prior.model.train()
    states = prior.encode(["a red circle"]).values
    assert not states.requires_grad
    train_steps(prior)
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

"""Adapters on a pretrained prior: nothing changes at first, the encoder never, and they merge."""

from __future__ import annotations

import pytest
import torch
from peft.tuners.tuners_utils import BaseTunerLayer

from pipelines.core.errors import KaleidoError
from pipelines.latents.vocabulary import special_tokens
from pipelines.models.lora import add_adapters, merge_adapters
from pipelines.models.prior import Prior
from tests.models.conftest import load_base
from tests.models.test_prior import train_steps

CAPTIONS = ["a red circle"]


def _logits(prior: Prior) -> torch.Tensor:
    z, _ = prior.tokenize_z(["<boxes> circle <120><330><410><620>"])
    with torch.no_grad():
        return prior.z_logits(prior.encode(CAPTIONS), z)


def test_at_first_a_prior_with_adapters_is_the_checkpoint(flan) -> None:
    prior = load_base(flan)
    prior.model.eval()
    before = _logits(prior)
    add_adapters(prior, 4)
    assert torch.equal(_logits(prior), before)
    merge_adapters(prior)
    assert torch.equal(_logits(prior), before)


def test_only_adapters_and_the_rows_of_z_learn(flan) -> None:
    prior = load_base(flan)
    add_adapters(prior, 4)
    before = {name: value.clone() for name, value in prior.model.state_dict().items()}
    with torch.no_grad():
        states = prior.encode(CAPTIONS).values
    train_steps(prior)
    changed = {n for n, v in prior.model.state_dict().items() if not torch.equal(v, before[n])}
    tables = {"shared.weight", "lm_head.weight", "encoder.embed_tokens.weight"}
    tables |= {"decoder.embed_tokens.weight"}
    assert tables <= changed
    assert all("lora_" in name and name.startswith("decoder.") for name in changed - tables)
    rows = set(prior.tokenizer.convert_tokens_to_ids(list(special_tokens(prior.z_kinds))))
    for name in ("shared.weight", "lm_head.weight"):
        moved = (prior.model.state_dict()[name] != before[name]).any(1).nonzero().flatten()
        assert set(moved.tolist()) <= rows
    with torch.no_grad():
        assert torch.equal(prior.encode(CAPTIONS).values, states)


def test_a_merged_prior_is_a_plain_one(flan, tmp_path) -> None:
    prior = load_base(flan)
    add_adapters(prior, 4)
    untouched = _logits(prior)
    train_steps(prior)
    adapted = _logits(prior)
    assert not torch.allclose(adapted, untouched, atol=1e-2)
    merge_adapters(prior)
    assert not any(isinstance(module, BaseTunerLayer) for module in prior.model.modules())
    torch.testing.assert_close(_logits(prior), adapted, rtol=1e-4, atol=1e-4)
    prior.save(tmp_path / "prior")
    assert torch.equal(_logits(Prior.load(tmp_path / "prior")), _logits(prior))


def test_a_prior_from_scratch_has_nothing_to_adapt(prior) -> None:
    with pytest.raises(KaleidoError) as caught:
        add_adapters(prior, 4)
    assert caught.value.code == "bad-setting"

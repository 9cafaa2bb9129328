"""The models that sample: the workspace's own, or the embedded ones if it has none at all."""

from __future__ import annotations

import shutil
from copy import deepcopy
from dataclasses import replace

import pytest
import torch

from pipelines.core.errors import InputMissing, KaleidoError
from pipelines.models.prior import Prior
from pipelines.sample.bundle import load_bundle
from pipelines.sample.draw import draw, draw_from_z
from pipelines.workspace.settings import SampleSettings
from pipelines.workspace.status import status

OPTIONS = SampleSettings(n=2, steps=2, z_candidates=1)


def test_a_workspace_without_models_is_served_by_the_embedded_ones(workspace) -> None:
    assert load_bundle(workspace).source == load_bundle(None, baseline=True).source == "embedded"


def test_a_workspace_with_some_models_must_have_those_that_are_needed(workspace, bundle) -> None:
    bundle.prior.save(workspace.models("prior"))
    with pytest.raises(InputMissing) as caught:
        load_bundle(workspace)
    assert caught.value.what == str(workspace.models("diffusion"))
    bundle.diffusion.prior = bundle.prior.identity
    bundle.diffusion.save(workspace.models("diffusion"))
    assert load_bundle(workspace).source == "workspace"
    with pytest.raises(InputMissing) as caught:
        load_bundle(workspace, baseline=True)
    assert caught.value.what == str(workspace.models("baseline"))
    assert load_bundle(workspace, baseline=True, embedded=True).source == "embedded"
    shutil.rmtree(workspace.models("prior"))
    with pytest.raises(InputMissing) as caught:
        load_bundle(workspace)
    assert caught.value.what == str(workspace.models("prior"))


def test_a_diffusion_model_of_another_prior_is_refused(workspace, bundle, monkeypatch) -> None:
    bundle.prior.save(workspace.models("prior"))
    monkeypatch.setattr(bundle.diffusion, "prior", "0f")
    bundle.diffusion.save(workspace.models("diffusion"))
    with pytest.raises(KaleidoError) as caught:
        load_bundle(workspace)
    assert caught.value.code == "model-mismatch"


@pytest.fixture
def retrained(workspace, bundle, monkeypatch):
    """A workspace whose prior has learned on since its diffusion model was trained."""
    prior = bundle.prior
    prior.save(workspace.models("reader"))
    monkeypatch.setattr(bundle.diffusion, "prior", prior.identity)
    bundle.diffusion.save(workspace.models("diffusion"))
    later = deepcopy(prior)
    with torch.no_grad():
        later.model.shared.weight.mul_(1.5)
    later.save(workspace.models("prior"))
    return workspace


def test_a_later_prior_draws_z_and_the_kept_one_reads_it(retrained, bundle) -> None:
    both = load_bundle(retrained)
    assert both.reader.identity == both.diffusion.prior != both.prior.identity
    samples = list(draw(both, "a star", OPTIONS))
    alone = replace(both, older=None)
    assert [s.z for s in samples] == [s.z for s in draw(alone, "a star", OPTIONS)]
    assert [s.z for s in samples] != [s.z for s in draw(bundle, "a star", OPTIONS)]
    read = draw_from_z(bundle, "a star", [s.z for s in samples], OPTIONS)
    for sample, same in zip(samples, read, strict=True):
        assert (sample.pixels == same.pixels).all()


def test_a_kept_prior_that_is_another_or_has_other_words_is_refused(retrained, bundle) -> None:
    assert not status(retrained)["misfits"]
    prior = Prior.load(retrained.models("prior"))
    prior.tokenizer.add_tokens(["<another>"])
    prior.model.resize_token_embeddings(len(prior.tokenizer))
    prior.save(retrained.models("prior"))
    with pytest.raises(KaleidoError) as caught:
        load_bundle(retrained)
    assert caught.value.code == "model-mismatch"
    shutil.rmtree(retrained.models("reader"))
    assert status(retrained)["misfits"] == ["diffusion"]
    with pytest.raises(KaleidoError) as caught:
        load_bundle(retrained)
    assert caught.value.code == "model-mismatch"

"""The models that sample: the workspace's own, or the embedded ones if it has none at all."""

from __future__ import annotations

import shutil

import pytest

from pipelines.core.errors import InputMissing, KaleidoError
from pipelines.sample.bundle import load_bundle


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

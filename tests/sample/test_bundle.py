"""Which models draw: the workspace's own, or the embedded ones where it has none at all."""

from __future__ import annotations

import shutil

import pytest

from pipelines.core.errors import InputMissing
from pipelines.sample.bundle import load_bundle


def test_a_workspace_without_models_is_served_by_the_embedded_ones(workspace) -> None:
    assert load_bundle(workspace).source == load_bundle(None, baseline=True).source == "embedded"


def test_a_workspace_with_some_models_must_have_those_that_are_needed(workspace, bundle) -> None:
    bundle.prior.save(workspace.models("prior"))
    with pytest.raises(InputMissing, match="Run `kaleido train diffusion` first"):
        load_bundle(workspace)
    bundle.diffusion.prior = bundle.prior.identity
    bundle.diffusion.save(workspace.models("diffusion"))
    assert load_bundle(workspace).source == "workspace"
    with pytest.raises(InputMissing, match="Run `kaleido train diffusion --baseline` first"):
        load_bundle(workspace, baseline=True)
    assert load_bundle(workspace, baseline=True, embedded=True).source == "embedded"
    shutil.rmtree(workspace.models("prior"))
    with pytest.raises(InputMissing, match="Run `kaleido train prior` first"):
        load_bundle(workspace)

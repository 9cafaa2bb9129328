"""Training on a GPU in bf16: it learns, goes on when stopped, and its models load on a CPU."""

from __future__ import annotations

import shutil
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file

from pipelines.models.tokenizer import Tokenizer
from pipelines.sample.bundle import load_bundle
from pipelines.sample.draw import draw
from pipelines.train.diffusion import train_diffusion
from pipelines.train.prior import train_prior
from pipelines.train.tokenizer import train_tokenizer
from pipelines.workspace.config import override
from pipelines.workspace.settings import SampleSettings
from pipelines.workspace.workspace import Workspace
from tests.train.stopper import Stopper

pytestmark = pytest.mark.gpu

BF16 = {f"{name}.precision": "bf16" for name in ("tokenizer", "prior", "diffusion")}


@pytest.fixture
def workspace(trained_on, tmp_path) -> Workspace:
    """A copy of the data, with settings for tiny models in bf16."""
    root = tmp_path / "workspace"
    shutil.copytree(trained_on.root, root)
    return replace(trained_on, root=root, settings=override(trained_on.settings, BF16))


def _steps(workspace: Workspace, model: str, steps: int) -> Workspace:
    return replace(workspace, settings=override(workspace.settings, {f"{model}.steps": steps}))


def test_the_losses_fall_and_the_models_draw_on_a_cpu(workspace, no_gpu) -> None:
    first = train_prior(_steps(workspace, "prior", 1))
    last = train_prior(_steps(workspace, "prior", 60))
    assert last.resumed_at == 1 and last.loss < 0.9 * first.loss
    for baseline in (False, True):
        first = train_diffusion(_steps(workspace, "diffusion", 4), baseline)
        last = train_diffusion(_steps(workspace, "diffusion", 80), baseline)
        assert last.resumed_at == 4 and last.loss < 0.9 * first.loss
    options = SampleSettings(n=2, cfg=2.0, steps=2)
    with no_gpu():
        for baseline in (False, True):
            bundle = load_bundle(workspace, baseline)
            assert bundle.prior.model.device.type == "cpu"
            assert [each.pixels.shape for each in draw(bundle, "a star", options)] == [
                (16, 16, 3)
            ] * 2


def test_a_tokenizer_learns(workspace, no_gpu) -> None:
    first = train_tokenizer(_steps(workspace, "tokenizer", 1))
    last = train_tokenizer(_steps(workspace, "tokenizer", 80))
    assert last.resumed_at == 1 and last.loss < 0.9 * first.loss
    with no_gpu():
        tokenizer = Tokenizer.load(workspace.models("tokenizer"))
        assert tokenizer.decode(torch.zeros(1, 4, 4, dtype=torch.int64)).device.type == "cpu"


def test_an_interrupted_run_comes_to_the_same_weights(workspace, tmp_path, monkeypatch) -> None:
    """But for roundings: on a GPU some sums are taken in the order in which threads come."""
    train_prior(workspace)
    again = replace(workspace, root=tmp_path / "again")
    shutil.copytree(workspace.root, again.root, ignore=shutil.ignore_patterns("logs"))
    train_diffusion(workspace)
    monkeypatch.setattr("pipelines.train.loop.CHECKPOINT_SECONDS", 0.0)
    with pytest.raises(KeyboardInterrupt):
        train_diffusion(again, progress=Stopper(5))
    assert train_diffusion(again).resumed_at == 5
    whole, resumed = (_weights(each) for each in (workspace, again))
    apart = sum((whole[name] - resumed[name]).square().sum() for name in whole)
    assert (apart / sum(value.square().sum() for value in whole.values())).sqrt() < 2e-3


def _weights(workspace: Workspace) -> dict[str, torch.Tensor]:
    paths = sorted(workspace.models("diffusion").rglob("*.safetensors"))
    return {f"{path.parent.name}.{k}": v for path in paths for k, v in load_file(path).items()}

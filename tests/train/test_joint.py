"""Prior and denoiser trained together."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file

from pipelines.core.errors import KaleidoError
from pipelines.core.progress import SILENT
from pipelines.models.diffusion import Diffusion
from pipelines.models.prior import Prior
from pipelines.sample.bundle import load_bundle
from pipelines.sample.draw import draw
from pipelines.train.diffusion import DiffusionTask
from pipelines.train.joint import JointTask, train_joint
from pipelines.train.log import LOG_FILE
from pipelines.train.noise import Noise
from pipelines.train.pictures import open_stream
from pipelines.train.prior_task import PriorTask
from pipelines.workspace.settings import SampleSettings
from pipelines.workspace.workspace import Workspace
from tests.train.conftest import adapt
from tests.train.forked import in_ranks
from tests.train.stopper import Stopper

SMALL = {
    "joint__steps": 8,
    "joint__batch_size": 8,
    "joint__warmup": 2,
    "joint__precision": "fp32",
    "prior__dropout_steps": 0,
}


@pytest.fixture
def joint(trained) -> Workspace:
    """A workspace with staged models, and settings to train both together for eight steps."""
    return adapt(trained, **SMALL)


def _tasks(workspace: Workspace, eta: float) -> tuple[PriorTask, DiffusionTask, JointTask]:
    prior = Prior.load(workspace.models("prior"))
    model = Diffusion.load(workspace.models("diffusion"))
    stream = open_stream(workspace, workspace.settings.diffusion, None, SILENT)
    planned = PriorTask(prior, stream, 0, 0, workspace.settings.prior.structure_weight)
    drawn = DiffusionTask(model, prior, stream, 0.1, 2, 0.1, 0, through_prior=True)
    return planned, drawn, JointTask(planned, drawn, eta)


def _losses(workspace: Workspace) -> list[float]:
    text = (workspace.logs / "joint" / LOG_FILE).read_text("utf-8")
    return [json.loads(line)["loss"] for line in text.splitlines()]


def test_the_loss_is_the_sum_of_both_with_eta(joint) -> None:
    planned, drawn, both = _tasks(joint, 0.5)
    batch = both.batch(3, 4)
    with torch.no_grad():
        terms = both.loss(batch, Noise(0, "test", range(4)))
        expected = drawn.loss(drawn.batch(3, 4), Noise(0, "test", range(4)))
        prior = planned.loss(planned.batch(3, 4), Noise(0, "test", range(4)))
    assert len(terms) == both.terms == len(both.weigh(batch, 4))
    torch.testing.assert_close(terms, torch.cat([expected, 0.5 * prior[None]]))


def test_the_gradient_of_drawing_reaches_the_decoder(joint) -> None:
    planned, drawn, both = _tasks(joint, 0.0)
    query = planned.prior.model.decoder.block[0].layer[0].SelfAttention.q.weight
    both.loss(both.batch(0, 4), Noise(0, "test", range(4))).sum().backward()
    assert query.grad.abs().sum() > 0
    query.grad = None
    staged = DiffusionTask(drawn.model, planned.prior, drawn._stream, 0.1, 2, 0.1, 0)
    staged.loss(staged.batch(0, 4), Noise(0, "test", range(4))).sum().backward()
    assert query.grad is None


def test_both_models_are_saved_and_fit_each_other(joint, tmp_path, monkeypatch) -> None:
    before = load_file(joint.models("prior") / "model.safetensors")
    again = replace(joint, root=tmp_path / "again")
    shutil.copytree(joint.root, again.root, ignore=shutil.ignore_patterns("models"))
    train_joint(joint)
    state = json.loads((joint.logs / "joint" / "checkpoint" / "state.json").read_text())
    assert state["settings"]["autoencoder"] is None and state["settings"]["prior.d_model"] == 32
    assert not [name for name in state["settings"] if "architecture" in name]
    bundle = load_bundle(joint)
    pictures = list(draw(bundle, "a star", SampleSettings(n=2, cfg=2.0, steps=2)))
    assert [each.pixels.shape for each in pictures] == [(16, 16, 3)] * 2
    whole = load_file(joint.models("prior") / "model.safetensors")
    assert any(not torch.equal(value, before[name]) for name, value in whole.items())
    monkeypatch.setattr("pipelines.train.loop.CHECKPOINT_SECONDS", 0.0)
    with pytest.raises(KeyboardInterrupt):
        train_joint(again, progress=Stopper(3))
    assert train_joint(again).resumed_at == 3
    resumed = load_file(again.models("prior") / "model.safetensors")
    assert all(torch.equal(resumed[name], value) for name, value in whole.items())
    with pytest.raises(KaleidoError) as caught:
        train_joint(adapt(again, joint__eta=0.5))
    assert caught.value.code == "model-mismatch" and "eta" in caught.value.why


def test_staged_models_go_on_together(joint) -> None:
    staged = adapt(joint, joint__start="staged")
    _, _, both = _tasks(joint, 1.0)
    with torch.no_grad():
        batch = both.batch(0, 8)
        first = both.loss(batch, Noise(0, "train joint", range(8))).sum()
    before = load_file(joint.models("prior") / "model.safetensors")
    train_joint(staged)
    assert _losses(staged)[0] == pytest.approx(first.item(), rel=1e-4)
    after = load_file(joint.models("prior") / "model.safetensors")
    learned = {name.split(".")[0] for name in before if not torch.equal(after[name], before[name])}
    assert {"encoder", "decoder"} <= learned
    other = Prior.load(joint.models("prior"))
    with torch.no_grad():
        other.model.shared.weight[0] += 1.0
    other.save(joint.models("prior"))
    with pytest.raises(KaleidoError) as caught:
        train_joint(staged, restart=True)
    assert caught.value.code == "model-mismatch"


def test_two_processes_train_both_as_one_does(joint) -> None:
    train_joint(joint)
    alone = _losses(joint)
    summaries = in_ranks(2, lambda: train_joint(joint, restart=True))
    assert [each.steps for each in summaries] == [8, 8]
    assert _losses(joint) == pytest.approx(alone, rel=1e-3)


def test_finished_models_are_replaced_only_when_asked(joint, invoke) -> None:
    flags = ["--set", "prior.z_kinds=palette", "--steps", "1", "-w", str(joint.root)]
    said = invoke("train", "joint", *flags, code=1).err
    assert "--yes" in said
    assert not (joint.logs / "joint").exists()

"""Every option of the trainer does something, and those that only save memory change no result."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn

from pipelines.core.errors import KaleidoError
from pipelines.models.diffusion import Diffusion
from pipelines.models.prior import Prior
from pipelines.train.blocks import prepared_blocks
from pipelines.train.checkpoint import load_checkpoint
from pipelines.train.diffusion import DiffusionTask
from pipelines.train.footprint import Footprint, diffusion_footprint, prior_footprint, saved_bytes
from pipelines.train.loop import train
from pipelines.train.noise import Noise
from pipelines.train.prior import train_prior
from pipelines.train.prior_task import PriorTask
from pipelines.train.stream import RecordStream
from pipelines.train.task import Task
from tests.train.conftest import adapt
from tests.train.test_loop import OPTIONS, LineTask

CHECKPOINTED = replace(OPTIONS, gradient_checkpointing="on")


def _tasks(workspace) -> dict[str, Task]:
    prior = Prior.load(workspace.models("prior"))
    stream = RecordStream(workspace, ("palette",), 0)
    stream.arrange([(16, 16)], 8)
    denoiser = Diffusion.load(workspace.models("diffusion"))
    return {
        "prior": PriorTask(prior, stream, 0),
        "diffusion": DiffusionTask(denoiser, prior, stream, 0.1, 2, 0.1, 0),
    }


@pytest.mark.parametrize("name", ["prior", "diffusion"])
def test_gradient_checkpointing_keeps_less_and_changes_nothing(trained, name) -> None:
    task = _tasks(trained)[name]
    batch = task.batch(0, 4)
    names = {key for key, _ in task.model.named_parameters()}

    def gradients(options) -> tuple[int, dict[str, torch.Tensor]]:
        def loss() -> None:
            torch.manual_seed(0)
            task.loss(batch, Noise(0, "test", range(4))).sum().backward()

        task.model.zero_grad()
        with prepared_blocks(task.blocks(), options):
            assert {key for key, _ in task.model.named_parameters()} == names
            loss()
            found = {k: v.grad for k, v in task.model.named_parameters() if v.grad is not None}
            kept = saved_bytes(lambda: task.loss(batch, Noise(0, "test", range(4))).sum())
        return kept, {key: value.clone() for key, value in found.items()}

    usual, expected = gradients(OPTIONS)
    kept, found = gradients(CHECKPOINTED)
    assert kept < 0.8 * usual
    assert found.keys() == expected.keys()
    assert all(torch.equal(value, expected[key]) for key, value in found.items())
    assert all("forward" not in block.__dict__ for block in task.blocks())


def test_gradient_checkpointing_repeats_the_masks_of_dropout(trained) -> None:
    settings = {"prior__dropout": 0.5, "prior__dropout_steps": 3, "prior__steps": 3}
    losses = [
        train_prior(
            adapt(trained, **settings, train__gradient_checkpointing=choice), restart=True
        ).loss
        for choice in ("off", "on")
    ]
    assert losses[0] == losses[1]


class BlockTask(LineTask):
    """The line behind a block that can be compiled."""

    def __init__(self) -> None:
        super().__init__()
        self.block = nn.Sequential(nn.Linear(1, 8), nn.GELU(), nn.Linear(8, 1))
        self.model = nn.Sequential(self.block)

    def blocks(self) -> list[nn.Module]:
        return [self.block]


def _trained(folder, task: Task, options) -> dict[str, torch.Tensor]:
    train(task, options, folder / "checkpoint", {}, "line")
    return task.model.state_dict()


@pytest.mark.slow
def test_compiled_blocks_learn_the_same(tmp_path) -> None:
    options = replace(OPTIONS, steps=8)
    eager = _trained(tmp_path / "eager", BlockTask(), options)
    compiled = _trained(tmp_path / "compiled", BlockTask(), replace(options, compile="on"))
    assert eager.keys() == compiled.keys()
    assert all(torch.allclose(compiled[key], value, atol=1e-4) for key, value in eager.items())


def test_compiling_is_asked_of_the_blocks_alone(monkeypatch) -> None:
    compiled = []
    task = BlockTask()
    forward = task.block.forward
    monkeypatch.setattr(torch, "compile", lambda function: compiled.append(function) or function)
    with prepared_blocks(task.blocks(), OPTIONS):
        assert not compiled
    with prepared_blocks(task.blocks(), replace(OPTIONS, compile="on")):
        assert compiled == [forward]


def test_a_gradient_is_clipped_to_the_norm(tmp_path) -> None:
    task = LineTask()
    train(task, replace(OPTIONS, steps=1, clip=1e-3), tmp_path / "checkpoint", {}, "line")
    moments = load_checkpoint(tmp_path / "checkpoint")[0]["optimizer"]
    norm = torch.stack([moments[f"{at}.exp_avg"].norm() for at in (0, 1)]).norm()
    assert norm == pytest.approx(0.1 * 1e-3, rel=1e-3)  # the first moment is 1 - β₁ of it


class WideTask(LineTask):
    """Enough weights for moments in 8 bits: small tensors keep 32."""

    def __init__(self, stop_at: int | None = None) -> None:
        super().__init__(stop_at)
        self.model = nn.Sequential(nn.Linear(1, 80), nn.Linear(80, 80), nn.Linear(80, 1))


def test_moments_in_eight_bits_resume(tmp_path, monkeypatch) -> None:
    pytest.importorskip("bitsandbytes")
    options = replace(OPTIONS, steps=12, optimizer="adamw8bit", learning_rate=1e-3)
    whole = _trained(tmp_path / "whole", WideTask(), options)
    usual = _trained(tmp_path / "usual", WideTask(), replace(options, optimizer="adamw"))
    assert not torch.equal(whole["1.weight"], usual["1.weight"])
    assert torch.allclose(whole["1.weight"], usual["1.weight"], atol=5e-3)
    monkeypatch.setattr("pipelines.train.loop.CHECKPOINT_SECONDS", 0.0)
    with pytest.raises(KeyboardInterrupt):
        _trained(tmp_path / "parts", WideTask(stop_at=24), options)
    moments = load_checkpoint(tmp_path / "parts" / "checkpoint")[0]["optimizer"]
    assert moments["2.state1"].dtype == torch.uint8
    parts = _trained(tmp_path / "parts", WideTask(), options)
    assert all(torch.equal(parts[key], value) for key, value in whole.items())


def test_eight_bits_without_their_package_are_an_error(tmp_path, monkeypatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "bitsandbytes", None)
    with pytest.raises(KaleidoError) as caught:
        _trained(tmp_path, LineTask(), replace(OPTIONS, optimizer="adamw8bit"))
    assert caught.value.code == "not-installed" and "eight-bit" in caught.value.hint


def test_a_run_keeps_its_optimizer_but_not_its_way_of_computing(trained) -> None:
    trained = adapt(trained, prior__dropout_steps=0)
    train_prior(trained, restart=True)
    longer = {"prior__steps": 14}
    with pytest.raises(KaleidoError) as caught:
        train_prior(adapt(trained, **longer, train__clip=0.1))
    assert caught.value.code == "model-mismatch" and "train.clip" in caught.value.why
    other = adapt(trained, **longer, train__micro_batch=2, train__gradient_checkpointing="on")
    assert train_prior(other).resumed_at == 12


def test_a_plan_counts_what_is_computed_at_a_time(trained) -> None:
    for plan, batch in ((prior_footprint, "prior"), (diffusion_footprint, "diffusion")):
        whole = plan(trained).memory["activations"]
        for way in ({"train__micro_batch": 4}, {"train__processes": 2}):
            assert plan(adapt(trained, **way)).memory["activations"] == pytest.approx(
                whole / 2, rel=0.1
            )
        again = plan(adapt(trained, train__gradient_checkpointing="on"))
        assert again.memory["activations"] < 0.8 * whole
        eight = plan(adapt(trained, train__optimizer="adamw8bit"))
        assert eight.memory["optimizer"] < 0.26 * plan(trained).memory["optimizer"]
        assert eight.checkpoint < plan(trained).checkpoint, batch


def test_a_plan_names_the_micro_batch_that_fits(trained) -> None:
    plan = diffusion_footprint(trained)
    assert plan.micro_batch == 8 and plan.fitting == 8
    rest, one = plan.memory_needed - plan.memory["activations"], plan.memory["activations"] // 8
    tight: Footprint = replace(plan, memory_free=rest + 3 * one + one // 2)
    assert tight.fitting == 3 and "--micro-batch 3 " in tight.warning
    assert replace(plan, memory_free=rest - 1).fitting == 0
    told = diffusion_footprint(adapt(trained, train__micro_batch=3))
    assert told.memory_needed <= tight.memory_free
    assert not told.warning


def test_what_does_not_fit_is_said_before_training(trained, invoke, monkeypatch) -> None:
    monkeypatch.setattr("pipelines.train.footprint.free_memory", lambda device: 1_000_000)
    flags = ["--set", "diffusion.z_kinds=palette", "-w", str(trained.root)]
    for key in ("layers", "heads", "head_dim", "image_size", "pixel_channels", "batch_size"):
        flags += ["--set", f"diffusion.{key}={getattr(trained.settings.diffusion, key)}"]
    said = invoke("train", "diffusion", *flags, "--steps", "1", "--restart", "--yes").err
    assert said.index("Warning") < said.index("1/1")

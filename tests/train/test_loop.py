"""The training loop: it learns, resumes exactly, and refuses what it should."""

from __future__ import annotations

import os
import signal
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from pipelines.core.errors import KaleidoError
from pipelines.train.checkpoint import drop_checkpoint, load_checkpoint, save_checkpoint
from pipelines.train.loop import Schedule, train


class LineTask:
    """Fit y = 3x - 1 with noise; every batch follows from its position."""

    def __init__(self, stop_at: int | None = None, broken: bool = False) -> None:
        torch.manual_seed(0)
        self.model = nn.Linear(1, 1)
        self.stop_at, self.broken = stop_at, broken

    def batch(self, start: int, count: int) -> torch.Tensor:
        if self.stop_at is not None and start >= self.stop_at:
            raise KeyboardInterrupt
        return torch.arange(start, start + count, dtype=torch.float32)[:, None] % 7 / 7

    def loss(self, batch: torch.Tensor, rng: torch.Generator) -> torch.Tensor:
        if self.broken:
            return self.model(batch).sum() * float("nan")
        noise = 0.1 * torch.randn(batch.shape, generator=rng)
        return (self.model(batch) - (3 * batch - 1 + noise)).square().mean()


SCHEDULE = Schedule(steps=60, batch_size=4, learning_rate=0.05, warmup=5, seed=3, ema=0.9)


def _run(folder: Path, task: LineTask, schedule: Schedule = SCHEDULE, **settings) -> nn.Module:
    train(task, schedule, folder / "checkpoint", {"size": 1, **settings}, "line")
    return task.model


def test_it_learns(tmp_path) -> None:
    schedule = Schedule(steps=400, batch_size=8, learning_rate=0.05, warmup=5, seed=3, ema=0.9)
    model = _run(tmp_path, LineTask(), schedule)
    assert model.weight.item() == pytest.approx(3.0, abs=0.2)
    assert model.bias.item() == pytest.approx(-1.0, abs=0.15)


def test_resume_is_exact(tmp_path, monkeypatch) -> None:
    whole = _run(tmp_path / "whole", LineTask())
    monkeypatch.setattr("pipelines.train.loop.CHECKPOINT_SECONDS", 0.0)
    with pytest.raises(KeyboardInterrupt):
        _run(tmp_path / "parts", LineTask(stop_at=100))
    assert load_checkpoint(tmp_path / "parts" / "checkpoint")[1]["step"] == 25
    resumed = _run(tmp_path / "parts", LineTask())
    assert torch.equal(whole.weight, resumed.weight)
    assert torch.equal(whole.bias, resumed.bias)


class InterruptedTask(LineTask):
    """The user presses Ctrl-C in the middle of a step."""

    def loss(self, batch: torch.Tensor, rng: torch.Generator) -> torch.Tensor:
        if self.stop_at is not None:
            self.stop_at -= 1
            if self.stop_at == 0:
                os.kill(os.getpid(), signal.SIGINT)
        return super().loss(batch, rng)

    def batch(self, start: int, count: int) -> torch.Tensor:
        return torch.arange(start, start + count, dtype=torch.float32)[:, None] % 7 / 7


def test_ctrl_c_saves_the_step_and_the_run_goes_on(tmp_path) -> None:
    whole = _run(tmp_path / "whole", LineTask())
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        _run(tmp_path / "parts", InterruptedTask(stop_at=25))
    assert signal.getsignal(signal.SIGINT) is before
    assert load_checkpoint(tmp_path / "parts" / "checkpoint")[1]["step"] == 25
    resumed = _run(tmp_path / "parts", LineTask())
    assert torch.equal(whole.weight, resumed.weight)


def test_an_unfinished_run_is_not_called_finished(tmp_path) -> None:
    with pytest.raises(KeyboardInterrupt):
        _run(tmp_path, InterruptedTask(stop_at=25))
    for steps in (10, 25):
        with pytest.raises(KaleidoError, match=r"at step 25 of 60.*Go on with --steps 60"):
            _run(tmp_path, LineTask(), replace(SCHEDULE, steps=steps))
    _run(tmp_path, LineTask(), replace(SCHEDULE, steps=30))  # shortened, its rate falls in time
    assert load_checkpoint(tmp_path / "checkpoint")[1]["step"] == 30


class NormTask(LineTask):
    """The same line behind a BatchNorm, whose statistics no gradient reaches."""

    def __init__(self, stop_at: int | None = None) -> None:
        super().__init__(stop_at)
        self.model = nn.Sequential(nn.BatchNorm1d(1), nn.Linear(1, 1))
        self.model.register_buffer("constant", torch.full((2,), 0.3))
        self.model.register_buffer("unsaved", torch.ones(2), persistent=False)


def test_resume_is_exact_for_statistics_too(tmp_path, monkeypatch) -> None:
    whole = _run(tmp_path / "whole", NormTask()).state_dict()
    monkeypatch.setattr("pipelines.train.loop.CHECKPOINT_SECONDS", 0.0)
    with pytest.raises(KeyboardInterrupt):
        _run(tmp_path / "parts", NormTask(stop_at=100))
    saved, _ = load_checkpoint(tmp_path / "parts" / "checkpoint")
    statistics = {"0.running_mean", "0.running_var", "0.num_batches_tracked", "constant"}
    assert saved["buffers"].keys() == statistics
    resumed = _run(tmp_path / "parts", NormTask()).state_dict()
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


def test_statistics_are_averaged_and_counts_are_not(tmp_path) -> None:
    class NoisyTask(NormTask):
        def batch(self, start: int, count: int) -> torch.Tensor:
            return torch.full((count, 1), float(start % 8)) + super().batch(start, count)

    average = _run(tmp_path, NoisyTask()).state_dict()
    saved, _ = load_checkpoint(tmp_path / "checkpoint")
    assert torch.equal(average["0.running_mean"], saved["ema"]["0.running_mean"])
    assert not torch.equal(average["0.running_mean"], saved["buffers"]["0.running_mean"])
    assert average["0.num_batches_tracked"] == SCHEDULE.steps
    assert torch.equal(average["constant"], torch.full((2,), 0.3))


def test_models_without_statistics_keep_three_groups(tmp_path) -> None:
    _run(tmp_path, LineTask())
    saved, state = load_checkpoint(tmp_path / "checkpoint")
    assert saved.keys() == {"model", "ema", "optimizer"}
    assert state == {"step": 60, "steps": 60, "settings": {"size": 1}}


def test_weight_decay_shrinks_the_weights(tmp_path) -> None:
    plain = _run(tmp_path / "plain", LineTask())
    shrunk = _run(tmp_path / "shrunk", LineTask(), replace(SCHEDULE, weight_decay=2.0))
    assert shrunk.weight.abs().item() < 0.9 * plain.weight.abs().item()


def test_finished_runs_are_not_repeated(tmp_path) -> None:
    first = _run(tmp_path, LineTask())
    again = _run(tmp_path, LineTask(stop_at=0))
    assert torch.equal(first.weight, again.weight)


def test_a_finished_longer_run_says_what_it_did(tmp_path) -> None:
    _run(tmp_path, LineTask())
    shorter = replace(SCHEDULE, steps=10)
    summary = train(LineTask(), shorter, tmp_path / "checkpoint", {"size": 1}, "line")
    assert (summary.steps, summary.images_seen, summary.resumed_at) == (60, 240, 60)


def test_a_checkpoint_of_other_parameters_is_of_another_version(tmp_path) -> None:
    _run(tmp_path, LineTask())
    wider, renamed = LineTask(), LineTask()
    wider.model, renamed.model = nn.Linear(1, 2), nn.Sequential(nn.Linear(1, 1))
    for other in (wider, renamed, NormTask()):
        with pytest.raises(KaleidoError, match=r"another version.*--restart"):
            _run(tmp_path, other)


def test_other_settings_are_refused(tmp_path) -> None:
    _run(tmp_path, LineTask())
    with pytest.raises(KaleidoError, match=r"other settings: size \(1 before, 2 now\)"):
        train(LineTask(), SCHEDULE, tmp_path / "checkpoint", {"size": 2}, "line")


def test_a_loss_that_is_not_finite_stops_the_run(tmp_path) -> None:
    with pytest.raises(KaleidoError, match="loss is nan at step 0"):
        _run(tmp_path, LineTask(broken=True))


class SteepTask(LineTask):
    """A loss of 0 whose gradient is not finite from a step on."""

    def loss(self, batch: torch.Tensor, rng: torch.Generator) -> torch.Tensor:
        loss = super().loss(batch, rng)
        return (self.model.weight - self.model.weight).sum().sqrt() if batch[0] > 0.6 else loss


def test_a_gradient_that_is_not_finite_is_not_saved(tmp_path) -> None:
    steep = next(at for at in range(9) if SteepTask().batch(4 * at, 4)[0] > 0.6)
    schedule = replace(SCHEDULE, steps=steep + 1)
    with pytest.raises(KaleidoError, match=f"norm is nan at step {steep}.*--restart"):
        _run(tmp_path, SteepTask(), schedule)
    assert load_checkpoint(tmp_path / "checkpoint") is None


def test_a_damaged_checkpoint_is_an_error(tmp_path) -> None:
    _run(tmp_path, LineTask())
    (tmp_path / "checkpoint" / "model.safetensors").write_bytes(b"junk")
    with pytest.raises(KaleidoError, match="damaged"):
        _run(tmp_path, LineTask())


def test_a_crash_while_replacing_leaves_the_old_checkpoint(tmp_path) -> None:
    folder = tmp_path / "checkpoint"
    save_checkpoint(folder, {"model": {"w": torch.ones(2)}}, {"step": 1})
    # What is left when the process dies between the two renames.
    folder.rename(folder.with_suffix(".old"))
    groups, state = load_checkpoint(folder)
    assert state == {"step": 1}
    assert torch.equal(groups["model"]["w"], torch.ones(2))
    save_checkpoint(folder, {"model": {"w": torch.zeros(2)}}, {"step": 2})
    assert load_checkpoint(folder)[1] == {"step": 2}
    drop_checkpoint(folder)
    assert load_checkpoint(folder) is None


def test_the_rate_rises_holds_and_falls() -> None:
    schedule = Schedule(steps=100, batch_size=1, learning_rate=1.0, warmup=10, seed=0)
    assert schedule.rate(0) == pytest.approx(0.1)
    assert schedule.rate(9) == schedule.rate(60) == 1.0
    assert schedule.rate(99) == pytest.approx(1 / 40)

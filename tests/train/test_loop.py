"""The training loop: it learns, resumes exactly, and refuses what it should."""

from __future__ import annotations

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
    assert state == {"step": 60, "settings": {"size": 1}}


def test_weight_decay_shrinks_the_weights(tmp_path) -> None:
    plain = _run(tmp_path / "plain", LineTask())
    shrunk = _run(tmp_path / "shrunk", LineTask(), replace(SCHEDULE, weight_decay=2.0))
    assert shrunk.weight.abs().item() < 0.9 * plain.weight.abs().item()


def test_finished_runs_are_not_repeated(tmp_path) -> None:
    first = _run(tmp_path, LineTask())
    again = _run(tmp_path, LineTask(stop_at=0))
    assert torch.equal(first.weight, again.weight)


def test_other_settings_are_refused(tmp_path) -> None:
    _run(tmp_path, LineTask())
    with pytest.raises(KaleidoError, match="other settings: size"):
        train(LineTask(), SCHEDULE, tmp_path / "checkpoint", {"size": 2}, "line")


def test_a_loss_that_is_not_finite_stops_the_run(tmp_path) -> None:
    with pytest.raises(KaleidoError, match="loss is nan at step 0"):
        _run(tmp_path, LineTask(broken=True))


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

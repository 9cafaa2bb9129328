"""The training loop: it learns, resumes exactly, and refuses what it should."""

from __future__ import annotations

import json
import os
import resource
import signal
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from pipelines.core.errors import KaleidoError
from pipelines.core.files import temporary_path
from pipelines.models.tokenizer import build_tokenizer
from pipelines.train.checkpoint import drop_checkpoint, load_checkpoint, save_checkpoint
from pipelines.train.log import LOG_FILE
from pipelines.train.loop import train
from pipelines.train.noise import Noise
from pipelines.train.options import TrainOptions
from pipelines.train.task import Task
from pipelines.workspace.settings import TokenizerSettings


class LineTask(Task):
    """Fit y = 3x - 1 with noise; every batch follows from its position."""

    def __init__(self, stop_at: int | None = None, broken: bool = False) -> None:
        torch.manual_seed(0)
        self.model = nn.Linear(1, 1)
        self.stop_at, self.broken = stop_at, broken

    def batch(self, start: int, count: int) -> torch.Tensor:
        if self.stop_at is not None and start >= self.stop_at:
            raise KeyboardInterrupt
        return torch.arange(start, start + count, dtype=torch.float32)[:, None] % 7 / 7

    def loss(self, batch: torch.Tensor, noise: Noise) -> torch.Tensor:
        if self.broken:
            return self.model(batch).sum() * float("nan")
        noise = 0.1 * noise.normal(1)
        return (self.model(batch) - (3 * batch - 1 + noise)).square().mean()


OPTIONS = TrainOptions(steps=60, batch_size=4, learning_rate=0.05, warmup=5, seed=3, ema=0.9)


def _run(folder: Path, task: LineTask, options: TrainOptions = OPTIONS, **settings) -> nn.Module:
    train(task, options, folder / "checkpoint", {"size": 1, **settings}, "line")
    return task.model


def test_it_learns(tmp_path) -> None:
    options = TrainOptions(steps=400, batch_size=8, learning_rate=0.05, warmup=5, seed=3, ema=0.9)
    model = _run(tmp_path, LineTask(), options)
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

    def loss(self, batch: torch.Tensor, noise: Noise) -> torch.Tensor:
        if self.stop_at is not None:
            self.stop_at -= 1
            if self.stop_at == 0:
                os.kill(os.getpid(), signal.SIGINT)
        return super().loss(batch, noise)

    def batch(self, start: int, count: int) -> torch.Tensor:
        return torch.arange(start, start + count, dtype=torch.float32)[:, None] % 7 / 7


def test_ctrl_c_saves_the_step_and_the_run_goes_on(tmp_path) -> None:
    whole = _run(tmp_path / "whole", LineTask())
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        _run(tmp_path / "parts", InterruptedTask(stop_at=25))
    assert signal.getsignal(signal.SIGINT) is before
    # The step that the signal interrupted is given up, and repeated after resuming.
    assert load_checkpoint(tmp_path / "parts" / "checkpoint")[1]["step"] == 24
    resumed = _run(tmp_path / "parts", LineTask())
    assert torch.equal(whole.weight, resumed.weight)


def test_an_unfinished_run_is_not_called_finished(tmp_path) -> None:
    with pytest.raises(KeyboardInterrupt):
        _run(tmp_path, InterruptedTask(stop_at=26))
    for steps in (10, 25):
        with pytest.raises(KaleidoError) as caught:
            _run(tmp_path, LineTask(), replace(OPTIONS, steps=steps))
        assert "25 of 60" in caught.value.why
        assert "--steps 60" in caught.value.hint
    _run(tmp_path, LineTask(), replace(OPTIONS, steps=30))  # shortened, its rate falls in time
    assert load_checkpoint(tmp_path / "checkpoint")[1]["step"] == 30


def test_a_signal_that_is_ignored_stays_ignored(tmp_path) -> None:
    """A run under nohup goes on when its terminal is closed."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:

        class HungUp(LineTask):
            def loss(self, batch: torch.Tensor, noise: Noise) -> torch.Tensor:
                os.kill(os.getpid(), signal.SIGHUP)
                return super().loss(batch, noise)

        whole, hung_up = _run(tmp_path / "whole", LineTask()), _run(tmp_path / "hup", HungUp())
    finally:
        signal.signal(signal.SIGHUP, before)
    assert torch.equal(whole.weight, hung_up.weight)


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


def test_statistics_of_a_step_that_was_given_up_are_restored(tmp_path) -> None:
    whole = _run(tmp_path / "whole", NormTask()).state_dict()

    class StoppedTask(NormTask, InterruptedTask):
        """Stopped within a step, after the forward pass has updated the statistics."""

    with pytest.raises(KeyboardInterrupt):
        _run(tmp_path / "parts", StoppedTask(stop_at=25))
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
    assert average["0.num_batches_tracked"] == OPTIONS.steps
    assert torch.equal(average["constant"], torch.full((2,), 0.3))


def test_models_without_statistics_keep_three_groups(tmp_path) -> None:
    _run(tmp_path, LineTask())
    saved, state = load_checkpoint(tmp_path / "checkpoint")
    assert saved.keys() == {"model", "ema", "optimizer"}
    assert state == {"step": 60, "steps": 60, "settings": {"size": 1}}


def test_weight_decay_shrinks_the_weights(tmp_path) -> None:
    plain = _run(tmp_path / "plain", LineTask())
    shrunk = _run(tmp_path / "shrunk", LineTask(), replace(OPTIONS, weight_decay=2.0))
    assert shrunk.weight.abs().item() < 0.9 * plain.weight.abs().item()


def test_finished_runs_are_not_repeated(tmp_path) -> None:
    first = _run(tmp_path, LineTask())
    again = _run(tmp_path, LineTask(stop_at=0))
    assert torch.equal(first.weight, again.weight)


def test_a_finished_longer_run_says_what_it_did(tmp_path) -> None:
    _run(tmp_path, LineTask())
    shorter = replace(OPTIONS, steps=10)
    summary = train(LineTask(), shorter, tmp_path / "checkpoint", {"size": 1}, "line")
    assert (summary.steps, summary.images_seen, summary.resumed_at) == (60, 240, 60)


def test_a_checkpoint_of_other_parameters_is_of_another_version(tmp_path) -> None:
    _run(tmp_path, LineTask())
    wider, renamed = LineTask(), LineTask()
    wider.model, renamed.model = nn.Linear(1, 2), nn.Sequential(nn.Linear(1, 1))
    for other in (wider, renamed, NormTask()):
        with pytest.raises(KaleidoError) as caught:
            _run(tmp_path, other)
        assert "--restart" in caught.value.hint


def test_other_settings_are_refused(tmp_path) -> None:
    _run(tmp_path, LineTask())
    with pytest.raises(KaleidoError) as caught:
        train(LineTask(), OPTIONS, tmp_path / "checkpoint", {"size": 2}, "line")
    assert caught.value.code == "model-mismatch"
    assert "size (1 before, 2 now)" in caught.value.why


def test_a_loss_that_is_not_finite_stops_the_run(tmp_path) -> None:
    with pytest.raises(KaleidoError) as caught:
        _run(tmp_path, LineTask(broken=True))
    assert caught.value.code == "diverged"
    assert "step 1" in caught.value.why


class SteepTask(LineTask):
    """A loss of 0 whose gradient is not finite from a step on."""

    def loss(self, batch: torch.Tensor, noise: Noise) -> torch.Tensor:
        loss = super().loss(batch, noise)
        return (self.model.weight - self.model.weight).sum().sqrt() if batch[0] > 0.6 else loss


def test_a_gradient_that_is_not_finite_is_not_saved(tmp_path) -> None:
    steep = next(at for at in range(9) if SteepTask().batch(4 * at, 4)[0] > 0.6)
    options = replace(OPTIONS, steps=steep + 1)
    with pytest.raises(KaleidoError) as caught:
        _run(tmp_path, SteepTask(), options)
    assert caught.value.code == "diverged"
    assert f"step {steep + 1}" in caught.value.why
    assert load_checkpoint(tmp_path / "checkpoint") is None


class NamedTask(LineTask):
    """A batch with a bad record, number 100."""

    def loss(self, batch: torch.Tensor, noise: Noise) -> torch.Tensor:
        self.seen = getattr(self, "seen", 0) + 1
        return super().loss(batch, noise) * (float("nan") if self.seen == 26 else 1.0)

    def keys(self, start: int, count: int) -> list[str]:
        return [f"record-{index}" for index in range(start, start + count)]


def test_a_run_that_diverges_names_its_batch_and_keeps_its_checkpoint(
    tmp_path, monkeypatch
) -> None:
    monkeypatch.setattr("pipelines.train.loop.CHECKPOINT_SECONDS", 0.0)
    with pytest.raises(KaleidoError) as caught:
        _run(tmp_path, NamedTask())
    assert caught.value.code == "diverged"
    assert all(f"record-{at}" in caught.value.why for at in range(100, 104))
    groups, state = load_checkpoint(tmp_path / "checkpoint")
    assert state["step"] == 25
    assert all(value.isfinite().all() for group in groups.values() for value in group.values())


def test_memory_that_runs_out_is_explained(tmp_path) -> None:
    class Huge(LineTask):
        def loss(self, batch: torch.Tensor, noise: Noise) -> torch.Tensor:
            return torch.empty(2**55).sum()

    with pytest.raises(KaleidoError) as caught:
        _run(tmp_path, Huge())
    assert "batch-size" in caught.value.hint
    assert caught.value.code == "out-of-memory"


@pytest.mark.parametrize("lost", ["model", "ema", "optimizer"])
def test_a_checkpoint_that_lacks_a_file_is_damaged(tmp_path, lost) -> None:
    _run(tmp_path, LineTask())
    (tmp_path / "checkpoint" / f"{lost}.safetensors").unlink()
    with pytest.raises(KaleidoError) as caught:
        _run(tmp_path, LineTask())
    assert caught.value.code == "bad-model"


@pytest.mark.parametrize("content", [None, "", "[]", '{"step": '])
def test_a_checkpoint_without_its_state_is_damaged(tmp_path, content) -> None:
    _run(tmp_path, LineTask())
    path = tmp_path / "checkpoint" / "state.json"
    path.unlink() if content is None else path.write_text(content)
    with pytest.raises(KaleidoError) as caught:
        _run(tmp_path, LineTask())
    assert caught.value.code == "bad-model"


@contextmanager
def small_disk():
    """No file may grow beyond 20 kB."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def test_a_full_disk_leaves_the_last_checkpoint(tmp_path) -> None:
    folder = tmp_path / "checkpoint"
    save_checkpoint(folder, {"model": {"w": torch.ones(2)}}, {"step": 1})
    with small_disk(), pytest.raises(KaleidoError) as caught:
        save_checkpoint(folder, {"model": {"w": torch.ones(10_000)}}, {"step": 2})
    assert caught.value.code == "no-space"
    groups, state = load_checkpoint(folder)
    assert state == {"step": 1} and torch.equal(groups["model"]["w"], torch.ones(2))
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint"]


def test_a_full_disk_leaves_the_last_model(tmp_path) -> None:
    settings = TokenizerSettings(patch_size=2, channels=(8,), codebook_size=6, code_dim=2)
    model = build_tokenizer(settings, 8)
    model.save(tmp_path / "tokenizer")
    before = {path.name: path.read_bytes() for path in (tmp_path / "tokenizer").iterdir()}
    with small_disk(), pytest.raises(KaleidoError) as caught:
        build_tokenizer(replace(settings, codebook_size=20_000), 8).save(tmp_path / "tokenizer")
    assert caught.value.code == "no-space"
    assert {path.name: path.read_bytes() for path in (tmp_path / "tokenizer").iterdir()} == before
    assert [path.name for path in tmp_path.iterdir()] == ["tokenizer"]


def test_a_log_has_the_run_and_is_continued(tmp_path, monkeypatch) -> None:
    def lines(folder: Path) -> list[dict]:
        text = (folder / LOG_FILE).read_text(encoding="utf-8")
        return [json.loads(line) for line in text.splitlines()]

    _run(tmp_path / "whole", LineTask())
    whole = lines(tmp_path / "whole")
    assert [line["step"] for line in whole] == [*range(1, 12), 21, 31, 41, 51, 60]
    assert all(line["images_seen"] == 4 * line["step"] for line in whole)
    assert whole[0]["learning_rate"] == pytest.approx(OPTIONS.rate(0))
    assert min(line[name] for line in whole for name in ("gradient_norm", "memory_mb")) > 0
    assert all(line["images_per_second"] > 0 for line in whole)
    assert whole[-1]["loss"] < whole[0]["loss"]
    monkeypatch.setattr("pipelines.train.loop.CHECKPOINT_SECONDS", 0.0)
    with pytest.raises(KeyboardInterrupt):
        _run(tmp_path / "parts", LineTask(stop_at=100))
    with (tmp_path / "parts" / LOG_FILE).open("a") as file:
        file.write('{"step": 29, "loss": 1.0}\n{"ste')  # of a run that crashed
    _run(tmp_path / "parts", LineTask())
    parts = lines(tmp_path / "parts")
    steps = [line["step"] for line in parts]
    assert steps == sorted(set(steps)) and steps[-1] == 60
    assert [line["loss"] for line in parts[:11]] == [line["loss"] for line in whole[:11]]


def test_a_damaged_checkpoint_is_an_error(tmp_path) -> None:
    _run(tmp_path, LineTask())
    (tmp_path / "checkpoint" / "model.safetensors").write_bytes(b"junk")
    with pytest.raises(KaleidoError) as caught:
        _run(tmp_path, LineTask())
    assert caught.value.code == "bad-model"


def test_a_crash_while_replacing_leaves_the_old_checkpoint(tmp_path) -> None:
    folder = tmp_path / "checkpoint"
    save_checkpoint(folder, {"model": {"w": torch.ones(2)}}, {"step": 1})
    # What is left when the process dies between the two renames.
    folder.rename(temporary_path(folder, "old"))
    groups, state = load_checkpoint(folder)
    assert state == {"step": 1}
    assert torch.equal(groups["model"]["w"], torch.ones(2))
    save_checkpoint(folder, {"model": {"w": torch.zeros(2)}}, {"step": 2})
    assert load_checkpoint(folder)[1] == {"step": 2}
    drop_checkpoint(folder)
    assert load_checkpoint(folder) is None


def test_the_rate_rises_holds_and_falls() -> None:
    options = TrainOptions(steps=100, batch_size=1, learning_rate=1.0, warmup=10, seed=0)
    assert options.rate(0) == pytest.approx(0.1)
    assert options.rate(9) == options.rate(60) == 1.0
    assert options.rate(99) == pytest.approx(1 / 40)

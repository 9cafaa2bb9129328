"""The training loop. Models differ in their `Task` only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Any

import torch
from accelerate import Accelerator
from torch import nn

from pipelines.core.memory import is_out_of_memory, out_of_memory
from pipelines.core.progress import SILENT, Progress
from pipelines.core.seeds import derive
from pipelines.models.device import compute_device
from pipelines.train.checkpoint import RunState, restore_run, save_run
from pipelines.train.ema import Ema, buffers, trainable
from pipelines.train.fetch import fetch
from pipelines.train.log import LOG_FILE, TrainLog
from pipelines.train.options import TrainOptions
from pipelines.train.precision import mixed_precision, resolve_precision
from pipelines.train.processes import require_one_process
from pipelines.train.signals import StopRequest, stop_signals
from pipelines.train.task import Task

CHECKPOINT_SECONDS = 300.0
"""Seconds between checkpoints: the most work that a crash can cost."""


@dataclass(frozen=True)
class TrainSummary:
    """What a run did.

    Attributes:
        steps: Steps in all, those of earlier runs included.
        images_seen: Examples seen in all.
        loss: Mean loss of the last hundred steps; NaN if the run was finished already.
        resumed_at: The step at which this run resumed, 0 for a fresh one.
    """

    steps: int
    images_seen: int
    loss: float
    resumed_at: int


def train(
    task: Task,
    options: TrainOptions,
    checkpoint: Path,
    settings: Mapping[str, Any],
    name: str,
    progress: Progress = SILENT,
) -> TrainSummary:
    """Train a task's model in place; at the end it holds the averaged weights.

    A stopped run resumes from its checkpoint, and the result is the same as if it had not been
    stopped, because order and noise are derived from (seed, images seen). Ctrl-C, SIGTERM and
    SIGHUP save a checkpoint before the run ends.

    Args:
        task: Model, batches and loss.
        options: How long and how fast.
        checkpoint: The run's checkpoint folder; ``log.jsonl`` is written beside it.
        settings: JSON values on which the weights depend; a checkpoint of other settings is
            refused. The number of steps is not among them, so a run can be made longer.
        name: What is trained, for messages; the noise depends on it.
        progress: Receives the progress.

    Raises:
        KaleidoError: If several processes were started, the checkpoint belongs to other settings,
            another version or a longer run, the loss or its gradient is not finite, or the memory
            or the disk is full.
        KeyboardInterrupt: After Ctrl-C.
        SystemExit: After SIGTERM or SIGHUP.
    """
    require_one_process(name)
    run = _Run(task, options, checkpoint, settings, name)
    steps = range(run.first, options.steps)
    done = max(run.first, options.steps)  # a finished run may be longer than was asked for
    batches = fetch(task.batch, options.batch_size, steps, run.device)
    with stop_signals() as stop, progress.task(name, done, "step", done=run.first) as advance:
        for step, batch in zip(steps, batches, strict=True):
            taken = run.take(step, batch, stop)
            if stop.asked:
                run.save(step + taken)
                progress.message(
                    f"{name}: stopped after step {step + taken:,} of {options.steps:,}; the same "
                    "command resumes there."
                )
                stop.leave()
            advance(1, f"loss {run.log.mean:.4f}")
            run.save_if_due(step + 1)
    if steps:
        run.save(done)
    run.ema.copy_to_model()
    task.model.eval()
    return TrainSummary(done, done * options.batch_size, run.log.mean, run.first)


class _Run:
    """The state of a run: model, optimizer, average and log.

    Attributes:
        device: Where the model is.
        first: The step at which the run begins.
        ema: The average of the weights.
        log: The losses.
    """

    def __init__(
        self,
        task: Task,
        options: TrainOptions,
        checkpoint: Path,
        settings: Mapping[str, Any],
        name: str,
    ) -> None:
        self._task, self._options, self._name = task, options, name
        self._checkpoint, self._settings = checkpoint, settings
        compute_device()  # a chosen device that does not exist has an error of its own
        self._accelerator = Accelerator()
        self.device = self._accelerator.device
        task.to(self.device)
        self._model = task.model.train()
        self._precision = resolve_precision(options.precision, self.device)
        optimizer = torch.optim.AdamW(
            trainable(self._model).values(),
            options.learning_rate,
            betas=(0.9, 0.99),
            weight_decay=options.weight_decay,
            fused=self.device.type == "cuda",
        )
        self.ema = Ema(self._model, options.ema)
        self._state = RunState(self._model, optimizer, self.ema)
        self.first = restore_run(checkpoint, self._state, settings, options.steps)
        self._optimizer = self._accelerator.prepare(optimizer)
        self.log = TrainLog(checkpoint.parent / LOG_FILE, name, options, self.first, task.keys)
        self._saved_at = monotonic()

    def take(self, step: int, batch: Any, stop: StopRequest) -> bool:
        """Take a step; return False if it was given up because the run is to stop.

        A large step takes minutes, so a request is heeded between its forward and its backward
        pass. What the forward pass has changed is undone; a resumed run repeats the step.
        """
        if stop.asked:
            return False
        for group in self._optimizer.param_groups:
            group["lr"] = self._options.rate(step)
        statistics = {name: value.clone() for name, value in buffers(self._model).items()}
        try:
            loss = self._forward(step, batch)
            if stop.asked:
                _restore(self._model, statistics)
                return False
            self._accelerator.backward(loss)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            hint = "Give a smaller --batch-size, or train a smaller model."
            raise out_of_memory(f"{self._name}, step {step + 1:,}", hint) from error
        norm = nn.utils.clip_grad_norm_(self._model.parameters(), self._options.clip)
        self.log.add(step, loss, norm)
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)
        self._task.after_step()
        self.ema.update(step)
        self.log.write_if_due(step)
        return True

    def _forward(self, step: int, batch: Any) -> torch.Tensor:
        options, seen = self._options, step * self._options.batch_size
        rng = torch.Generator(self.device)
        rng.manual_seed(derive(options.seed, f"train {self._name}", seen))
        # Dropout layers use the global generator.
        torch.manual_seed(derive(options.seed, f"dropout {self._name}", seen))
        with mixed_precision(self._precision, self.device):
            self._task.before_step(batch, rng)
            return self._task.loss(batch, rng)

    def save_if_due(self, done: int) -> None:
        """Save a checkpoint if the last one is `CHECKPOINT_SECONDS` old."""
        if monotonic() - self._saved_at > CHECKPOINT_SECONDS:
            self.save(done)

    def save(self, done: int) -> None:
        """Save a checkpoint after `done` steps, unless a loss before it is not finite."""
        self.log.write()
        save_run(self._checkpoint, self._state, self._settings, done, self._options.steps)
        self._saved_at = monotonic()


@torch.no_grad()
def _restore(model: nn.Module, statistics: Mapping[str, torch.Tensor]) -> None:
    for name, value in buffers(model).items():
        value.copy_(statistics[name])

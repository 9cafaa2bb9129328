"""The training loop. Models differ in their `Task` only."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain, islice
from pathlib import Path
from time import monotonic
from typing import Any, NamedTuple

import torch
from accelerate.utils import send_to_device
from torch import nn

from pipelines.core.errors import KaleidoError
from pipelines.core.memory import is_out_of_memory, out_of_memory
from pipelines.core.progress import SILENT, Progress
from pipelines.core.seeds import derive
from pipelines.train.blocks import prepared_blocks
from pipelines.train.checkpoint import RunState, restore_run, save_run
from pipelines.train.ema import Ema, buffers, trainable
from pipelines.train.fetch import fetch
from pipelines.train.launch import launcher_is_gone
from pipelines.train.log import LOG_FILE, TrainLog
from pipelines.train.micro import dealt, micro_batches, micro_size, step_positions
from pipelines.train.noise import Noise
from pipelines.train.optimizer import build_optimizer
from pipelines.train.options import TrainOptions
from pipelines.train.precision import mixed_precision, resolve_precision
from pipelines.train.processes import require_known_launcher
from pipelines.train.ranks import ALONE, Ranks, join_ranks, rank_device
from pipelines.train.sharding import Shards, require_shardable, without_view_warnings
from pipelines.train.signals import StopRequest, stop_signals
from pipelines.train.task import Task

CHECKPOINT_SECONDS = 300.0
"""Seconds between checkpoints: the most work that a crash can cost."""

VALIDATED = 256
"""Number of held-out records whose loss is logged."""


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
    preview: Callable[[Path], None] | None = None,
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
        preview: Draws a sheet of pictures with the model as it is, into a file.

    Raises:
        KaleidoError: If the processes do not find each other, the checkpoint belongs to other
            settings, another version or a longer run, the loss or its gradient is not finite, or
            the memory or the disk is full.
        KeyboardInterrupt: After Ctrl-C.
        SystemExit: After SIGTERM or SIGHUP.
    """
    require_known_launcher(name)
    with join_ranks() as ranks:
        run = _Run(task, options, checkpoint, settings, name, ranks)
        blocks = prepared_blocks(task.blocks(), options, run.forward_pass)
        with blocks, without_view_warnings():
            return _train(run, progress, preview)


def _train(run: _Run, progress: Progress, preview: Callable[[Path], None] | None) -> TrainSummary:
    options, ranks, name = run.options, run.ranks, run.name
    progress = ranks.listener(progress)
    steps = range(run.first, options.steps)
    done = max(run.first, options.steps)  # a finished run may be longer than was asked for
    with stop_signals() as stop, progress.task(name, done, "step", done=run.first) as advance:
        for step, batches in zip(steps, run.batches(steps), strict=True):
            taken = run.take(step, batches, stop)
            if stop.asked:
                run.save(step + taken)
                progress.message(
                    f"{name}: stopped after step {step + taken:,} of {options.steps:,}; the same "
                    "command resumes there."
                )
                stop.leave()
            advance(1, f"loss {run.log.mean:.4f}")
            run.validate_if_due(step + 1)
            if preview is not None:
                run.preview_if_due(step + 1, preview)
            run.save_if_due(step + 1)
    if steps:
        run.save(done)
    run.log.close()
    run.whole_model()
    run.model.eval()
    return TrainSummary(done, done * options.batch_size, run.log.mean, run.first)


class MicroBatch(NamedTuple):
    """A part of a step that is computed at a time.

    Attributes:
        positions: Of its records in the stream.
        weights: Of each term of its loss, see `Task.weigh`.
        content: From `Task.batch`, on the run's device.
    """

    positions: range
    weights: tuple[float, ...]
    content: Any


class _Run:
    """The state of a run: model, optimizer, average and log.

    Attributes:
        model: What is trained.
        options: How long and how fast.
        name: What is trained, for messages.
        ranks: The processes that train it.
        device: Where the model is.
        first: The step at which the run begins.
        ema: The average of the weights.
        log: The losses.
        forward_pass: Returns the context of a forward pass.
    """

    def __init__(
        self,
        task: Task,
        options: TrainOptions,
        checkpoint: Path,
        settings: Mapping[str, Any],
        name: str,
        ranks: Ranks,
    ) -> None:
        self._task, self.options, self.name, self.ranks = task, options, name, ranks
        self._checkpoint, self._settings = checkpoint, settings
        self.device = rank_device()
        task.to(self.device)
        self._held_out = task.held_out()
        self.model = task.model.train()
        precision = resolve_precision(options.precision, self.device)
        self.forward_pass = partial(mixed_precision, precision, self.device)
        self._shards: Shards | None = None
        if options.fsdp == "on" and ranks.size > 1:
            require_shardable(task.shards(), options, ranks, name)
            self._shards = Shards(self.model, task.shards(), ranks)
        learned = trainable(self.model) if self._shards is None else self._shards.learned
        self._learned = list(learned.values())
        self._optimizer = build_optimizer(self._learned, options, self.device)
        self.ema = Ema(self.model, options.ema)
        self._state = RunState(self.model, self._optimizer, self.ema, self._shards)
        self.first = restore_run(checkpoint, self._state, settings, options.steps)
        self._require_same_step()
        path = checkpoint.parent / LOG_FILE if ranks.first else None
        self.log = TrainLog(path, name, options, self.first, task.keys)
        self._saved_at = monotonic()

    def _require_same_step(self) -> None:
        most, least = self.ranks.largest([self.first, -self.first])
        if most != -least:
            raise KaleidoError(
                str(self._checkpoint),
                f"one process has read step {-least:,} there, another step {most:,}.",
                "All machines need the same shared folder.",
                code="bad-model",
            )

    def batches(self, steps: range) -> Iterator[list[MicroBatch]]:
        """Yield the micro-batches of each step that this rank computes."""
        wanted = [dealt(step, self.options, self.ranks) for step in steps]
        made = fetch(self._weighed, list(chain(*wanted)), self.device)
        for places in wanted:
            parts = islice(made, len(places))
            yield [MicroBatch(at, *part) for at, part in zip(places, parts, strict=True)]

    def _weighed(self, start: int, count: int) -> tuple[tuple[float, ...], Any]:
        batch = self._task.batch(start, count)
        return self._task.weigh(batch, count), batch

    def take(self, step: int, batches: Sequence[MicroBatch], stop: StopRequest) -> bool:
        """Take a step; return False if it was given up because the run is to stop.

        A large step takes minutes, so a request is heeded after each forward pass; the ranks agree
        on it before gradients are summed. What the forward passes have changed is undone; a resumed
        run repeats the step.
        """
        if self._agree(stop):
            return False
        for group in self._optimizer.param_groups:
            group["lr"] = self.options.rate(step)
        statistics = {name: value.clone() for name, value in buffers(self.model).items()}
        try:
            loss, whole = self._accumulate(step, batches, stop)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            hint = "Give a smaller --micro-batch or --batch-size, or train a smaller model."
            raise out_of_memory(f"{self.name}, step {step + 1:,}", hint) from error
        if self._agree(stop, whole=whole):
            _restore(self.model, statistics)
            self._optimizer.zero_grad(set_to_none=True)
            return False
        norm = self._sum_and_clip()
        self.log.add(step, self.ranks.sum(loss), norm)
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)
        self._task.after_step(self.ranks)
        self.ema.update(step)
        self.log.write_if_due(step)
        return True

    def _sum_and_clip(self) -> torch.Tensor:
        """Sum the gradients over the ranks, limit their norm, and return it as it was."""
        if self._shards is None:
            self.ranks.sum_gradients(self._learned)
            return nn.utils.clip_grad_norm_(self._learned, self.options.clip)
        self._shards.collect()
        self.ranks.sum_gradients(self._shards.replicated())
        return self._shards.clip(self.options.clip)

    def whole_model(self) -> None:
        """Set the model to the average, whole on every rank."""
        self.ema.copy_to_model()
        if self._shards is not None:
            self._shards.leave()

    def _agree(self, stop: StopRequest, whole: bool = False) -> bool:
        """Whether the step is to be given up, because of a signal to any rank.

        Args:
            stop: A signal to another rank counts as this one's.
            whole: Whether this rank has computed its part; if all have, the step is taken.
        """
        orphan = signal.SIGTERM if launcher_is_gone() else 0
        number, broken = self.ranks.largest([stop.number or orphan, not whole])
        stop.number = number or None
        return stop.asked and bool(broken)

    def _accumulate(
        self, step: int, batches: Sequence[MicroBatch], stop: StopRequest
    ) -> tuple[torch.Tensor, bool]:
        """Add up the gradients of this rank's micro-batches.

        Returns:
            This rank's part of the step's loss, and whether all of it was computed.
        """
        options, whole = self.options, step_positions(step, self.options)
        totals = self._totals(batches)
        owners = [
            (index % self.ranks.size, len(positions))
            for index, positions in enumerate(micro_batches(step, options, self.ranks))
        ]
        loss = torch.zeros((), device=self.device)
        with self.forward_pass():
            contents = [batch.content for batch in batches]
            self._task.before_step(contents, owners, self._noise(whole[:1], whole), self.ranks)
        for batch in batches:
            with self.forward_pass():
                noise = self._noise(batch.positions, whole)
                # Dropout layers use the global generator.
                first = batch.positions.start
                torch.manual_seed(derive(options.seed, f"dropout {self.name}", first))
                terms = self._task.loss(batch.content, noise)
            if stop.asked and self._shards is None:  # divided, all compute alike to the end
                return loss, False
            share = torch.tensor(batch.weights, device=self.device) / totals
            part = (terms * share).sum()
            part.backward()
            loss += part.detach()
        return loss, True

    def _totals(self, batches: Sequence[MicroBatch]) -> torch.Tensor:
        """Return the sum of each weight over the step; 1 where it is 0, as then is its term."""
        own = [batch.weights for batch in batches]
        totals = torch.tensor(own, dtype=torch.float64).reshape(-1, self._task.terms).sum(0)
        totals = self.ranks.sum(totals)
        return torch.where(totals > 0, totals, 1.0).float().to(self.device)

    def _noise(self, positions: range, step: range, purpose: str = "train") -> Noise:
        return Noise(self.options.seed, f"{purpose} {self.name}", positions, step, self.device)

    def validate_if_due(self, done: int) -> None:
        """Log the loss of the first held-out records, with the same noise each time."""
        records = min(self._held_out[1], VALIDATED)
        if not self.options.validate_every or done % self.options.validate_every or not records:
            return
        task, options = self._held_out[0], replace(self.options, batch_size=records)
        ranks = self.ranks
        if self._shards is not None:  # divided, all compute all of it
            options = replace(options, micro_batch=micro_size(self.options, ranks))
            ranks = ALONE
        sums = torch.zeros(2, self._task.terms, dtype=torch.float64)
        self.model.eval()
        for positions in dealt(0, options, ranks):
            batch = task.batch(positions.start, len(positions))
            weights = torch.tensor(task.weigh(batch, len(positions)), dtype=torch.float64)
            noise = self._noise(positions, range(records), "validate")
            with torch.no_grad(), self.forward_pass():
                terms = task.loss(send_to_device(batch, self.device), noise)
            sums += torch.stack([weights * terms.double().cpu(), weights])
        self.model.train()
        total, weight = ranks.sum(sums)
        loss = (total / torch.where(weight > 0, weight, 1.0)).sum()
        self.log.write()
        self.log.write_validation(done, float(loss), records)

    def preview_if_due(self, done: int, preview: Callable[[Path], None]) -> None:
        """Draw with the averaged weights, which are those that will be saved."""
        every = self.options.preview_every
        if not self.ranks.first or not every or done % every:
            return
        self.model.eval()
        with self.ema.shown(), torch.no_grad():
            preview(self._checkpoint.parent / f"preview-{done:06d}.png")
        self.model.train()

    def save_if_due(self, done: int) -> None:
        """Save a checkpoint if the last one is `CHECKPOINT_SECONDS` old."""
        due = monotonic() - self._saved_at > CHECKPOINT_SECONDS
        if self._shards is not None:
            due = bool(self.ranks.largest([due])[0])
        if due:
            self.save(done)

    def save(self, done: int) -> None:
        """Save a checkpoint after `done` steps, unless a loss before it is not finite."""
        self.log.write()
        first, steps = self.ranks.first, self.options.steps
        if first or self._shards is not None:
            save_run(self._checkpoint, self._state, self._settings, done, steps, first)
        self._saved_at = monotonic()


@torch.no_grad()
def _restore(model: nn.Module, statistics: Mapping[str, torch.Tensor]) -> None:
    for name, value in buffers(model).items():
        value.copy_(statistics[name])

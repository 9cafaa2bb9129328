"""The one training loop. What differs between models is their batch and their loss."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from time import monotonic
from typing import Any, Protocol

import torch
from accelerate import Accelerator
from torch import nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from pipelines.core.errors import KaleidoError
from pipelines.core.progress import SILENT, Progress
from pipelines.core.seeds import derive
from pipelines.models.metadata import other_version
from pipelines.train.checkpoint import (
    load_checkpoint,
    optimizer_tensors,
    restore_optimizer,
    save_checkpoint,
)
from pipelines.train.fetch import fetch
from pipelines.train.interrupt import deferred_interrupt
from pipelines.train.precision import mixed_precision, resolve_precision
from pipelines.workspace.settings import DiffusionSettings, PriorSettings, TokenizerSettings

CHECKPOINT_SECONDS = 300.0
"""Longest stretch of work that a crash can cost."""

LOOK = 10
"""Steps between two looks at the loss, after as many that are all looked at."""


LONG_VALUES = 60
"""Characters of a change of settings beyond which its values are not shown."""

LENGTHS = ("steps", "decoder_steps")
"""Settings that only say how long to train."""

Trained = TokenizerSettings | PriorSettings | DiffusionSettings


@dataclass(frozen=True)
class Schedule:
    """How long and how fast to train.

    Attributes:
        steps: Optimizer steps in all.
        batch_size: Records a step.
        learning_rate: Peak of AdamW's learning rate.
        warmup: Steps of linear warm-up.
        cooldown: Share of all steps over which the rate falls linearly to zero at the end.
        ema: Decay of the exponential moving average of the weights, reached after a ramp.
        weight_decay: AdamW's, on all parameters.
        clip: Largest norm of the gradient.
        seed: Source of all randomness.
        precision: ``auto``, ``bf16`` or ``fp32``, of the forward pass.
    """

    steps: int
    batch_size: int
    learning_rate: float
    warmup: int
    seed: int
    cooldown: float = 0.4
    ema: float = 0.999
    weight_decay: float = 0.0
    clip: float = 1.0
    precision: str = "fp32"

    @classmethod
    def of(cls, settings: Trained) -> Schedule:
        """The schedule that a section of the settings asks for, by its values of these names."""
        given = asdict(settings)
        return cls(**{f.name: given[f.name] for f in fields(cls) if f.name in given})

    def rate(self, step: int) -> float:
        """Learning rate of a step, counted from 0."""
        rising = (step + 1) / max(self.warmup, 1)
        falling = (self.steps - step) / max(self.cooldown * self.steps, 1.0)
        return self.learning_rate * max(0.0, min(1.0, rising, falling))


def decisive(settings: Trained) -> dict[str, Any]:
    """What of a section the weights depend on: all but `LENGTHS`, for a run can be made longer."""
    return {key: value for key, value in asdict(settings).items() if key not in LENGTHS}


class Task(Protocol):
    """What a model brings to the loop."""

    model: nn.Module

    def batch(self, start: int, count: int) -> Any:
        """Records `start` to ``start + count`` of an endless, seeded order, on the CPU.

        It may run in another process, ahead of the training (`pipelines.train.fetch`).
        """
        ...

    def loss(self, batch: Any, rng: torch.Generator) -> torch.Tensor:
        """The mean loss of a batch that lies on the model's device, a scalar.

        `rng` is the only source of noise.
        """
        ...


@dataclass(frozen=True)
class TrainSummary:
    """What a run did.

    Attributes:
        steps: Steps taken in all, earlier runs included.
        images_seen: Records seen in all.
        loss: Mean loss of the last hundred steps; NaN if the run was finished already.
        resumed_at: Step at which this run took over, 0 for a fresh one.
    """

    steps: int
    images_seen: int
    loss: float
    resumed_at: int


class Ema:
    """An exponential moving average of a model's parameters and float buffers, in fp32."""

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay = decay
        self._live = averaged(model)
        self.tensors = {name: value.detach().float().clone() for name, value in self._live.items()}

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Take in the model after a step; early on the average is shorter."""
        decay = min(self.decay, (1.0 + step) / (10.0 + step))
        live = [value.detach().float() for value in self._live.values()]
        # One operation for all tensors: on a GPU a launch each costs more than the averaging.
        get_ema_multi_avg_fn(decay)(list(self.tensors.values()), live, step)

    @torch.no_grad()
    def copy_to_model(self) -> None:
        """Set the model to the average."""
        for name, value in self._live.items():
            value.copy_(self.tensors[name])


class Losses:
    """The losses of the last hundred steps, and their gradients' norms.

    They are left on the device: to read one waits for its step.
    """

    def __init__(self, description: str) -> None:
        self._description = description
        self._steps: deque[tuple[int, torch.Tensor]] = deque(maxlen=100)

    def add(self, step: int, loss: torch.Tensor, gradient: torch.Tensor) -> None:
        """Take in the loss of a step and the norm of its gradient."""
        self._steps.append((step, torch.stack([loss.detach().float(), gradient.float()])))

    def mean(self) -> float:
        """Read them all; the mean of the losses, NaN if there is none.

        Raises:
            KaleidoError: If one is not finite.
        """
        if not self._steps:
            return math.nan
        rows = torch.stack([values for _, values in self._steps]).tolist()
        for (step, _), row in zip(self._steps, rows, strict=True):
            for name, value in zip(("loss", "gradient's norm"), row, strict=True):
                if not math.isfinite(value):
                    raise KaleidoError(
                        self._description,
                        f"the {name} is {value} at step {step}.",
                        "Lower --learning-rate and train with --restart.",
                    )
        return sum(loss for loss, _ in rows) / len(rows)


def trainable(model: nn.Module) -> dict[str, nn.Parameter]:
    """The parameters that learn, by name; a pretrained encoder's are frozen."""
    return {name: value for name, value in model.named_parameters() if value.requires_grad}


def buffers(model: nn.Module) -> dict[str, torch.Tensor]:
    """What a model saves besides parameters, by name: the statistics of BatchNorm."""
    saved = model.state_dict(keep_vars=True)
    return {name: value for name, value in model.named_buffers() if name in saved}


def averaged(model: nn.Module) -> dict[str, torch.Tensor]:
    """What `Ema` averages: integers, which only count, are not among it."""
    floats = {name: value for name, value in buffers(model).items() if value.is_floating_point()}
    return {**trainable(model), **floats}


def train(
    task: Task,
    schedule: Schedule,
    checkpoint: Path,
    settings: Mapping[str, Any],
    description: str,
    progress: Progress = SILENT,
) -> TrainSummary:
    """Train a task's model in place; at the end it holds the averaged weights.

    A run that was stopped goes on from its checkpoint, and the result is the same as if it had
    not been stopped, because order and noise are derived from (seed, images seen). Ctrl-C saves
    the step that it falls in.

    Args:
        task: Model, batches and loss.
        schedule: How long and how fast.
        checkpoint: The run's checkpoint folder; its parent keeps nothing else of ours.
        settings: JSON values on which the weights depend; a checkpoint of other settings is
            refused. ``steps`` is not among them, so a run can be made longer.
        description: What the progress line says.
        progress: Listener.

    Raises:
        KaleidoError: If the checkpoint belongs to other settings or another version, or the loss or
            its gradient is not finite, or an unfinished run is further than it is asked to go.
        KeyboardInterrupt: After Ctrl-C.
    """
    accelerator = Accelerator()
    model = task.model.to(accelerator.device).train()
    precision = resolve_precision(schedule.precision, accelerator.device)
    optimizer = torch.optim.AdamW(
        trainable(model).values(),
        schedule.learning_rate,
        betas=(0.9, 0.99),
        weight_decay=schedule.weight_decay,
        fused=accelerator.device.type == "cuda",
    )
    ema = Ema(model, schedule.ema)
    first = _resume(checkpoint, model, optimizer, ema, settings, schedule.steps)
    optimizer = accelerator.prepare(optimizer)
    losses = Losses(description)
    saved_at = monotonic()

    def save(step: int) -> None:
        groups = {
            "model": trainable(model),
            "ema": ema.tensors,
            "optimizer": optimizer_tensors(optimizer),
        }
        if statistics := buffers(model):
            groups["buffers"] = statistics
        state = {"step": step, "steps": schedule.steps, "settings": dict(settings)}
        save_checkpoint(checkpoint, groups, state)

    steps = range(first, schedule.steps)
    done = max(first, schedule.steps)  # a finished run can be longer than is asked for
    batches = fetch(task.batch, schedule.batch_size, steps, accelerator.device)
    with (
        deferred_interrupt() as interrupt,
        progress.task(description, done, "step", done=first) as advance,
    ):
        for step, batch in zip(steps, batches, strict=True):
            for group in optimizer.param_groups:
                group["lr"] = schedule.rate(step)
            seen = step * schedule.batch_size
            rng = torch.Generator(accelerator.device)
            rng.manual_seed(derive(schedule.seed, f"train {description}", seen))
            # Dropout layers know only the global generator.
            torch.manual_seed(derive(schedule.seed, f"dropout {description}", seen))
            with mixed_precision(precision, accelerator.device):
                loss = task.loss(batch, rng)
            accelerator.backward(loss)
            norm = nn.utils.clip_grad_norm_(model.parameters(), schedule.clip)
            losses.add(step, loss, norm)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            ema.update(step)
            if step < first + LOOK or step % LOOK == 0:
                note = f"loss {losses.mean():.4f}"
            advance(1, note)
            if interrupt.asked or monotonic() - saved_at > CHECKPOINT_SECONDS:
                losses.mean()  # nothing is saved of a broken run
                save(step + 1)
                saved_at = monotonic()
            if interrupt.asked:
                progress.message(
                    f"{description}: stopped after step {step + 1:,} of {schedule.steps:,}; the "
                    "same command goes on from there."
                )
                raise KeyboardInterrupt
    mean = losses.mean()
    if steps:
        save(done)
    ema.copy_to_model()
    model.eval()
    return TrainSummary(done, done * schedule.batch_size, mean, first)


def _resume(
    checkpoint: Path,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    ema: Ema,
    settings: Mapping[str, Any],
    steps: int,
) -> int:
    found = load_checkpoint(checkpoint)
    if found is None:
        return 0
    groups, state = found
    before = state["settings"]
    changed = [
        _change(key, before.get(key), _as_json(value))
        for key, value in settings.items()
        if before.get(key) != _as_json(value)
    ]
    if changed:
        raise KaleidoError(
            str(checkpoint),
            f"this run was started with other settings: {', '.join(changed)}.",
            "Restore them, or train with --restart.",
        )
    done, planned = int(state["step"]), int(state.get("steps", 0))
    if steps <= done < planned:
        raise KaleidoError(
            str(checkpoint),
            f"this run stands at step {done:,} of {planned:,}, beyond the {steps:,} asked for, and "
            "its learning rate has not fallen.",
            f"Go on with --steps {planned}, or more than {done}, or train with --restart.",
        )
    wanted = {"model": trainable(model), "buffers": buffers(model), "ema": ema.tensors}
    if any(_shapes(tensors) != _shapes(groups.get(name, {})) for name, tensors in wanted.items()):
        raise other_version(checkpoint)
    with torch.no_grad():
        for group, tensors in wanted.items():
            for name, value in tensors.items():
                value.copy_(groups[group][name])
    restore_optimizer(optimizer, groups["optimizer"])
    return done


def _shapes(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Size]:
    return {name: value.shape for name, value in tensors.items()}


def _change(key: str, before: Any, now: Any) -> str:
    """Name a setting, with its values where these can be read: hashes cannot."""
    values = f"{before!r} before, {now!r} now"
    return f"{key} ({values})" if len(values) < LONG_VALUES else key


def _as_json(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value

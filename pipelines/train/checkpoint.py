"""Checkpoints of a training run: safetensors and JSON in one folder, replaced as a whole."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors.torch import load_file, save_file
from torch import nn

from pipelines.core.errors import KaleidoError
from pipelines.core.files import (
    FILE_LIST,
    own_files,
    recover_folder,
    remove_folder,
    replacing_folder,
)
from pipelines.models.metadata import other_version
from pipelines.train.ema import Ema, buffers, trainable
from pipelines.train.optimizer import optimizer_tensors, restore_optimizer
from pipelines.train.sharding import Shards

STATE = "state.json"

LONG_VALUES = 60
"""Characters of a changed setting beyond which its values are not shown."""


class RunState(NamedTuple):
    """What a checkpoint restores."""

    model: nn.Module
    optimizer: torch.optim.Optimizer
    ema: Ema
    shards: Shards | None = None


def save_run(
    folder: Path,
    run: RunState,
    settings: Mapping[str, Any],
    done: int,
    steps: int,
    write: bool = True,
) -> None:
    """Save a run; all ranks join in if its weights are divided.

    Args:
        folder: For example ``logs/prior/checkpoint``.
        run: Model, optimizer and average.
        settings: JSON values on which the weights depend.
        done: Steps taken.
        steps: Steps asked for.
        write: Whether this is the rank that writes.

    Raises:
        KaleidoError: ``no-space``, if the disk is full; the last checkpoint stays as it was.
    """
    groups: dict[str, Mapping[str, torch.Tensor]] = {
        "model": trainable(run.model),
        "ema": run.ema.tensors,
        "optimizer": optimizer_tensors(run.optimizer),
    }
    if statistics := buffers(run.model):
        groups["buffers"] = statistics
    if run.shards is not None:
        groups = dict(run.shards.whole(groups))
    if write:
        save_checkpoint(folder, groups, {"step": done, "steps": steps, "settings": dict(settings)})


def restore_run(folder: Path, run: RunState, settings: Mapping[str, Any], steps: int) -> int:
    """Restore a run from its checkpoint.

    Args:
        folder: The checkpoint's folder.
        run: A new model, optimizer and average, which are set to the saved ones.
        settings: JSON values on which the weights depend.
        steps: Steps asked for.

    Returns:
        The steps that were taken; 0 if there is no checkpoint.

    Raises:
        KaleidoError: If the checkpoint is damaged, or belongs to other settings, another version,
            or an unfinished run of more steps.
    """
    found = load_checkpoint(folder)
    if found is None:
        return 0
    groups, state = found
    done = require_same_run(folder, state, settings, steps)
    wanted = {
        "model": trainable(run.model),
        "buffers": buffers(run.model),
        "ema": run.ema.tensors,
    }
    lost = {"model", "ema", "optimizer"} - groups.keys()
    if lost:
        raise _damaged(folder, FileNotFoundError(f"it lacks {', '.join(sorted(lost))}"))
    if run.shards is not None:
        groups = run.shards.own(groups)
    if any(_shapes(tensors) != _shapes(groups.get(name, {})) for name, tensors in wanted.items()):
        raise other_version(folder)
    with torch.no_grad():
        for group, tensors in wanted.items():
            for name, value in tensors.items():
                value.copy_(groups[group][name])
    restore_optimizer(run.optimizer, groups["optimizer"])
    return done


def require_same_run(
    folder: Path, state: Mapping[str, Any], settings: Mapping[str, Any], steps: int
) -> int:
    """Check that a checkpoint's state is of this run; return the steps that were taken.

    Raises:
        KaleidoError: If it belongs to other settings, or to an unfinished run of more steps.
    """
    before = state["settings"]
    changed = [
        _change(key, before.get(key), _as_json(value))
        for key, value in settings.items()
        if before.get(key) != _as_json(value)
    ]
    if changed:
        raise KaleidoError(
            str(folder),
            f"this run was started with other settings: {', '.join(changed)}.",
            "Restore them, or train with --restart.",
            code="model-mismatch",
        )
    done, planned = int(state["step"]), int(state.get("steps", 0))
    if steps <= done < planned:
        raise KaleidoError(
            str(folder),
            f"this run stopped at step {done:,} of {planned:,}, beyond the {steps:,} asked for, "
            "and its learning rate has not fallen.",
            f"Resume with --steps {planned}, or more than {done}, or train with --restart.",
            code="model-mismatch",
        )
    return done


def save_checkpoint(
    folder: Path, groups: Mapping[str, Mapping[str, torch.Tensor]], state: Mapping[str, Any]
) -> None:
    """Write a checkpoint so that the old one or the new one exists whole at every moment.

    Args:
        folder: For example ``logs/prior/checkpoint``.
        groups: Tensors by group, for example model, ema and optimizer.
        state: JSON values.

    Raises:
        KaleidoError: ``no-space``, if the disk is full; the old checkpoint stays as it was.
    """
    with replacing_folder(folder) as fresh:
        for name, tensors in groups.items():
            kept = {k: value.detach().cpu().contiguous().clone() for k, value in tensors.items()}
            save_file(kept, fresh / f"{name}.safetensors")
        (fresh / STATE).write_text(json.dumps(state, indent=1), encoding="utf-8")


def load_checkpoint(
    folder: Path,
) -> tuple[dict[str, dict[str, torch.Tensor]], dict[str, Any]] | None:
    """Read the newest whole checkpoint, or return None if there is none.

    Raises:
        KaleidoError: ``bad-model``, if a checkpoint is damaged or lacks a file.
    """
    state = load_state(folder)
    if state is None:
        return None
    try:
        groups = {file.stem: load_file(file) for file in sorted(folder.glob("*.safetensors"))}
    except Exception as error:  # safetensors raises errors of its own for damaged headers
        raise _damaged(folder, error) from error
    return groups, state


def load_state(folder: Path) -> dict[str, Any] | None:
    """Read the JSON values of the newest whole checkpoint, without its tensors.

    Raises:
        KaleidoError: ``bad-model``, if the file is missing or damaged.
    """
    recover_folder(folder)
    if not set(own_files(folder)) - {FILE_LIST}:
        return None
    try:
        state = json.loads((folder / STATE).read_text(encoding="utf-8"))
        if not isinstance(state, dict):
            raise ValueError(f"{STATE} is not an object")
        return state
    except (OSError, ValueError, RecursionError) as error:
        raise _damaged(folder, error) from error


def drop_checkpoint(folder: Path) -> None:
    """Remove a run's checkpoint."""
    remove_folder(folder)


def _damaged(folder: Path, error: Exception) -> KaleidoError:
    return KaleidoError(
        str(folder),
        f"the checkpoint is damaged ({error}).",
        "Delete it, or train with --restart.",
        code="bad-model",
    )


def _shapes(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Size]:
    return {name: value.shape for name, value in tensors.items()}


def _change(key: str, before: Any, now: Any) -> str:
    """Name a setting, with its values where they can be read: hashes cannot."""
    values = f"{before!r} before, {now!r} now"
    return f"{key} ({values})" if len(values) < LONG_VALUES else key


def _as_json(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value

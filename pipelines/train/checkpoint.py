"""Checkpoints of a training run: safetensors and JSON in one folder, replaced as a whole."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from pipelines.core.errors import KaleidoError


def save_checkpoint(
    folder: Path, groups: Mapping[str, Mapping[str, torch.Tensor]], state: Mapping[str, Any]
) -> None:
    """Write a checkpoint so that the old one or the new one exists whole at every moment.

    Args:
        folder: Where it goes, for example ``logs/prior/checkpoint``.
        groups: Tensors by group, for example model, ema and optimizer.
        state: JSON values: images seen, settings.
    """
    fresh, old = folder.with_suffix(".tmp"), folder.with_suffix(".old")
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(parents=True)
    for name, tensors in groups.items():
        kept = {key: value.detach().cpu().contiguous().clone() for key, value in tensors.items()}
        save_file(kept, fresh / f"{name}.safetensors")
    (fresh / "state.json").write_text(json.dumps(state, indent=1), encoding="utf-8")
    for path in fresh.iterdir():
        with path.open("rb+") as file:  # Windows syncs only what may be written
            os.fsync(file.fileno())
    if folder.exists():
        shutil.rmtree(old, ignore_errors=True)
        folder.rename(old)
    fresh.rename(folder)
    shutil.rmtree(old, ignore_errors=True)


def load_checkpoint(
    folder: Path,
) -> tuple[dict[str, dict[str, torch.Tensor]], dict[str, Any]] | None:
    """Read the newest whole checkpoint, or None if there is none.

    Raises:
        KaleidoError: If a checkpoint exists but is damaged.
    """
    for path in (folder, folder.with_suffix(".old")):
        if not path.exists():
            continue
        try:
            state = json.loads((path / "state.json").read_text(encoding="utf-8"))
            groups = {file.stem: load_file(file) for file in sorted(path.glob("*.safetensors"))}
        except Exception as error:  # safetensors raises its own kind for damaged headers
            raise KaleidoError(
                str(path),
                f"the checkpoint is damaged ({error}).",
                "Delete it, or train with --restart.",
            ) from error
        return groups, state
    return None


def drop_checkpoint(folder: Path) -> None:
    """Forget a run's checkpoint."""
    for path in (folder, folder.with_suffix(".old"), folder.with_suffix(".tmp")):
        shutil.rmtree(path, ignore_errors=True)


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, torch.Tensor]:
    """The optimizer's tensors, named ``index.field``; its numbers follow from the settings."""
    return {
        f"{index}.{name}": torch.as_tensor(value)
        for index, fields in optimizer.state_dict()["state"].items()
        for name, value in fields.items()
    }


def restore_optimizer(
    optimizer: torch.optim.Optimizer, tensors: Mapping[str, torch.Tensor]
) -> None:
    """Undo `optimizer_tensors` on an optimizer over the same parameters."""
    state: dict[int, dict[str, torch.Tensor]] = {}
    for key, value in tensors.items():
        index, name = key.split(".", 1)
        state.setdefault(int(index), {})[name] = value
    optimizer.load_state_dict(
        {"state": state, "param_groups": optimizer.state_dict()["param_groups"]}
    )

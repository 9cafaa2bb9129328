"""The command to run next in a workspace, from the data to the first samples."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from pipelines.latents.registry import extract_command
from pipelines.workspace.settings import Settings


def next_step(found: Mapping[str, Any], settings: Settings, prior_kinds: Sequence[str]) -> str:
    """Return the command to run next.

    Args:
        found: A workspace as `status` describes it.
        settings: The workspace's settings.
        prior_kinds: The kinds of z of the workspace's prior; empty if there is none.
    """
    data, latents = found["data"], found["latents"]
    if not data["ok"]:
        return "kaleido data folder PATH"
    outdated = [kind for kind, part in latents.items() if part["stale"] or _is_partial(part, data)]
    if outdated:
        return extract_command(outdated[0])
    kinds = [kind for kind, part in latents.items() if part["ok"]]
    if not kinds:
        # A palette needs no model; the shipped detector knows scenes only.
        return "kaleido extract all" if data["stage"] == "scenes" else extract_command("palette")
    stopped = [_train_command(name) for name in found["training"]]
    if stopped:
        return stopped[0]
    if "prior" not in found["models"]:
        return "kaleido train prior" + _z_flag(settings.prior.z_kinds, kinds)
    if "diffusion" not in found["models"]:
        return "kaleido train diffusion" + _z_flag(settings.diffusion.z_kinds, prior_kinds)
    if found["misfits"]:
        return f"{_train_command(found['misfits'][0])} --restart"
    return 'kaleido sample "A CAPTION"'


def _is_partial(part: Mapping[str, Any], data: Mapping[str, Any]) -> bool:
    return 0 < part["shards"] < data["shards"]


def _train_command(name: str) -> str:
    """Return the command that trains a model or one of its parts."""
    if name == "baseline":
        return "kaleido train diffusion --baseline"
    return f"kaleido train {name.partition('-')[0]}"


def _z_flag(wanted: Sequence[str], available: Sequence[str]) -> str:
    """Return the ``--z`` that is needed where the setting asks for kinds that are missing."""
    if not available or set(wanted) <= set(available):
        return ""
    return f" --z {shlex.quote(','.join(available))}"

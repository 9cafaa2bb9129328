"""The command to run next in a workspace, from the data to the evaluation."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from pipelines.latents.registry import extract_command
from pipelines.workspace.settings import Settings


class NextStep(NamedTuple):
    """A command, and a sentence about it; "" if the command speaks for itself."""

    command: str
    hint: str = ""


def next_step(found: Mapping[str, Any], settings: Settings, prior_kinds: Sequence[str]) -> NextStep:
    """Return the command to run next.

    Args:
        found: A workspace as `status` describes it.
        settings: The workspace's settings.
        prior_kinds: The kinds of z of the workspace's prior; empty if they are unknown.
    """
    data, latents, models = found["data"], found["latents"], found["models"]
    scenes = data["stage"] == "scenes"
    if not data["ok"]:
        return NextStep(
            "kaleido data folder PATH",
            "PATH is the folder of your pictures and captions. `kaleido data scenes` draws a toy "
            "data set.",
        )
    for kind, part in latents.items():
        if part["stale"] or 0 < part["shards"] < data["shards"]:
            return NextStep(extract_command(kind))
    kinds = [kind for kind, part in latents.items() if part["ok"]]
    if not kinds and scenes:
        return NextStep("kaleido extract all")
    if not kinds:
        return NextStep(
            extract_command("palette"),
            "It works on any pictures. `kaleido extract boxes --model DETECTOR` needs a detector "
            "that knows yours.",
        )
    prior_z = _z_flag(settings.prior.z_kinds, kinds)
    z = _z_flag(settings.diffusion.z_kinds, prior_kinds or kinds)
    flags = {"prior": prior_z, "diffusion": z, "baseline": z}
    for name in found["training"]:
        command = _train_command(name) + flags.get(name, "")
        return NextStep(command, "It resumes the run that was stopped.")
    if "prior" not in models:
        return NextStep(f"kaleido train prior{prior_z}")
    for name in found["misfits"]:
        command = f"{_train_command(name)}{flags.get(name, '')} --restart"
        return NextStep(command, f"The {name} model was trained for another prior.")
    if "diffusion" not in models:
        return NextStep(f"kaleido train diffusion{z}")
    if not found["samples"]:
        return NextStep('kaleido sample "A CAPTION"')
    if "baseline" not in models:
        return NextStep(f"kaleido train diffusion{z} --baseline", "It trains the rival.")
    return NextStep("kaleido evaluate" + ("" if scenes else " --features facebook/dinov2-base"))


def _train_command(name: str) -> str:
    """Return the command that trains a model or one of its parts."""
    if name == "baseline":
        return "kaleido train diffusion --baseline"
    return f"kaleido train {name.partition('-')[0]}"


def _z_flag(wanted: Sequence[str], available: Sequence[str]) -> str:
    """Return the ``--z`` that is needed where the setting asks for kinds that are missing."""
    if set(wanted) <= set(available):
        return ""
    return f" --z {shlex.quote(','.join(available))}"

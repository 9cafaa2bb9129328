"""The command to run next in a workspace, from the data to the evaluation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from pipelines.latents.registry import extract_command


class NextStep(NamedTuple):
    """A command, and a sentence about it; "" if the command speaks for itself."""

    command: str
    hint: str = ""


def next_step(found: Mapping[str, Any]) -> NextStep:
    """Return the command to run next.

    Args:
        found: A workspace as `status` describes it.
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
    for name in found["training"]:
        return NextStep(_train_command(name), "It resumes the run that was stopped.")
    if "prior" not in models:
        return NextStep("kaleido train prior")
    for name in found["misfits"]:
        command = f"{_train_command(name)} --restart"
        return NextStep(command, f"The {name} model was trained for another prior.")
    if "diffusion" not in models:
        return NextStep("kaleido train diffusion")
    if not found["samples"]:
        return NextStep('kaleido sample "A CAPTION"')
    if "baseline" not in models:
        return NextStep("kaleido train diffusion --baseline", "It trains the rival.")
    return NextStep("kaleido evaluate" + ("" if scenes else " --features facebook/dinov2-base"))


def _train_command(name: str) -> str:
    """Return the command that trains a model or one of its parts."""
    if name == "baseline":
        return "kaleido train diffusion --baseline"
    return f"kaleido train {name.partition('-')[0]}"

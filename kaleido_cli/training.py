"""What the commands of `kaleido train` have in common: flags, processes, and what they show."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import asdict
from math import isnan
from typing import TYPE_CHECKING, Annotated, Any

import typer

from kaleido_cli import console
from kaleido_cli.next_step import show_next_step
from pipelines.core.errors import KaleidoError
from pipelines.models.registry import own_models
from pipelines.train.launch import asked_by_launcher, is_first_rank, is_launched, launch

if TYPE_CHECKING:
    from pipelines.train.footprint import Footprint
    from pipelines.workspace.workspace import Workspace

RestartOption = Annotated[
    bool, typer.Option("--restart", help="Start again and discard an unfinished run.")
]
DryRunOption = Annotated[
    bool,
    typer.Option("--dry-run", help="Estimate memory, disk and steps; train nothing."),
]
YesOption = Annotated[
    bool,
    typer.Option("--yes", "-y", help="With --restart: replace a finished model without asking."),
]


def begin(workspace: Workspace, name: str, restart: bool, yes: bool) -> None:
    """Ask what is to be asked, and start the processes if there are to be several.

    Raises:
        Exit: With the status of the processes, which have trained.
    """
    if not asked_by_launcher():
        confirm(workspace, name, restart, yes)
    start_processes(workspace)


def start_processes(workspace: Workspace) -> None:
    """Start the processes if there are to be several.

    Raises:
        Exit: With their status; they have trained.
    """
    if workspace.settings.train.processes > 1 and not is_launched():
        raise typer.Exit(launch(sys.argv[1:], workspace.settings.train.processes))


def warn(found: Footprint) -> None:
    """Say before a run starts that it does not fit into the memory."""
    if is_first_rank() and found.warning:
        console.say(f"Warning: {found.warning}")


def finish(
    workspace: Workspace,
    summary: Any,
    as_json: bool,
    render: Callable[[Any], None],
    command: str = "",
) -> None:
    """Show what a training did, and what comes next.

    Args:
        workspace: The workspace.
        summary: Of the training.
        as_json: Whether the output is JSON.
        render: Shows the summary.
        command: What comes next, where that is not the next step of our own models.
    """
    if not is_first_rank():
        return
    console.show(summary, as_json, render)
    if not command:
        show_next_step(workspace, as_json)
    elif not as_json:
        console.say(f"Next: `{command}`")


def confirm(workspace: Workspace, name: str, restart: bool, yes: bool) -> None:
    """Ask for confirmation before a finished model is replaced.

    Raises:
        KaleidoError: If the terminal is not interactive.
    """
    if not restart or yes or name not in own_models(workspace):
        return
    folder = workspace.models(name)
    if not sys.stdin.isatty():
        raise KaleidoError(
            str(folder),
            "it is a finished model, which this would replace.",
            "Add --yes, or rename the folder.",
            code="would-overwrite",
        )
    typer.confirm(f"{folder} is a finished model. Replace it?", abort=True, err=True)


def render(name: str, summary: Any) -> None:
    """Show what a training did in a line."""
    seen = f"{name}: {summary.steps:,} steps, {summary.images_seen:,} records seen"
    if isnan(summary.loss):  # no step was left to take
        console.line(f"{seen}, finished already at step {summary.resumed_at:,}")
        return
    resumed = f", resumed at step {summary.resumed_at:,}" if summary.resumed_at else ""
    console.line(f"{seen}, loss {summary.loss:.4f}{resumed}")


def show_footprint(found: Footprint, as_json: bool) -> None:
    """Show what a training needs."""
    if not as_json:
        return _render_footprint(found)
    more = {"memory_needed": found.memory_needed, "warning": found.warning}
    console.show({**asdict(found), **more}, as_json, _render_footprint)


def _render_footprint(found: Footprint) -> None:
    from pipelines.core.sizes import format_bytes

    console.line(f"{found.name}: {found.parameters:,} parameters, {found.trainable:,} trained")
    parts = ", ".join(f"{part} {format_bytes(size)}" for part, size in found.memory.items())
    free = f"; {format_bytes(found.memory_free)} free" if found.memory_free is not None else ""
    console.line(f"Memory on {found.device}: {format_bytes(found.memory_needed)}{free} ({parts})")
    console.line(f"Checkpoint: {format_bytes(found.checkpoint)}, twice while it is replaced")
    console.line(
        f"Steps: {found.steps:,} of {found.batch_size:,} records, {found.micro_batch:,} at a time; "
        f"{found.batches_per_epoch:,} "
        f"batches see all {found.records:,} records once"
    )
    if found.warning:
        console.say(found.warning)

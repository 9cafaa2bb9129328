"""Name the command that comes next in a workspace."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from kaleido_cli import console

if TYPE_CHECKING:
    from pipelines.workspace.workspace import Workspace


def show_next_step(
    workspace: Workspace, as_json: bool, found: Mapping[str, Any] | None = None
) -> None:
    """Print the next step to stderr, unless the output is JSON.

    Args:
        workspace: The workspace.
        as_json: Whether the output is JSON.
        found: The workspace's status, if it is known already.
    """
    if not as_json:
        console.say(f"Next: {next_step(workspace, found)}")


def next_step(workspace: Workspace, found: Mapping[str, Any] | None = None) -> str:
    """Return the command that comes next, with a hint."""
    from pipelines.workspace.status import status

    found = found or status(workspace)
    command, hint = f"`{found['next']}`", found["hint"]
    return f"{command}. {hint}" if hint else command

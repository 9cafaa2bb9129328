"""`kaleido status`."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from kaleido_cli import console
from kaleido_cli.flags import settings_of
from kaleido_cli.next_step import show_next_step
from kaleido_cli.options import JsonOption, WorkspaceOption, open_workspace

app = typer.Typer(add_completion=False)

HEADER = ("kind", "shards", "ok", "filtered", "failed", "unfinished", "out of date")


@app.command(cls=settings_of(), epilog="Example: kaleido status --failed")
def status(
    context: typer.Context,
    failed: Annotated[
        bool, typer.Option("--failed", help="List every failed record, with its reason.")
    ] = False,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show the contents of the workspace, its problems, and the command to run next."""
    from pipelines.workspace.status import status as describe

    opened = open_workspace(context, workspace)
    found = describe(opened)
    if failed:
        parts = {"data": found["data"], **found["latents"]}
        failures = {name: part["failures"] for name, part in parts.items()}
        console.show(failures, as_json, _render_failed)
    else:
        console.show(found, as_json, _render)
        show_next_step(opened, as_json, found)


def _render_failed(failures: dict[str, list[dict[str, str]]]) -> None:
    if not any(failures.values()):
        console.line("No record failed.")
    for name, rows in failures.items():
        for row in rows:
            console.line(f"{name} {row['key']}: {row['reason']}")


def _render(found: dict[str, Any]) -> None:
    console.line(f"Workspace {found['workspace']}")
    parts = {"data": found["data"], **found["latents"]}
    console.table([_row(name, part) for name, part in parts.items()], HEADER)
    for name, part in parts.items():
        for failure in part["failures"][:5]:
            console.line(f"  failed in {name}: {failure['key']}: {failure['reason']}")
        if (rest := len(part["failures"]) - 5) > 0:
            console.line(f"  and {rest:,} more in {name}: see `kaleido status --failed`")
    for name in ("models", "samples", "reports"):
        console.line(f"{name}: {', '.join(found[name]) or 'none'}")
    for name, state in found["drawing"].items():
        why = "is being drawn" if state == "running" else "is of a run that was killed"
        console.line(f"samples/{name} {why}")
    for name, run in found["training"].items():
        console.line(
            f"training of {name} stopped at step {run['step']:,} of {run['steps']:,}; the same "
            "command resumes it"
        )
    for name in found["misfits"]:
        console.line(f"{name} was trained for another prior and cannot be used with this one")
    for problem in found["problems"]:
        console.line(f"{problem['path']}: {problem['reason']}")


def _row(name: str, part: dict[str, Any]) -> tuple[Any, ...]:
    counts = [part[column] for column in ("shards", "ok", "filtered", "failed")]
    return name, *counts, len(part["unfinished"]), len(part["stale"])

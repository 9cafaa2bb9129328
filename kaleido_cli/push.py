"""`kaleido push`."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from kaleido_cli import console
from kaleido_cli.flags import settings_of
from kaleido_cli.options import (
    JsonOption,
    PlacesOption,
    UrlArgument,
    WorkspaceOption,
    open_workspace,
    split_names,
)

app = typer.Typer(add_completion=False)


@app.command(cls=settings_of(), epilog="Example: kaleido push s3://bucket/birds --only models")
def push(
    context: typer.Context,
    url: UrlArgument,
    only: PlacesOption = None,
    delete: Annotated[
        bool, typer.Option("--delete", help="Remove shards there that the workspace lacks.")
    ] = False,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Copy the workspace to an object store. Only what differs travels."""
    opened = open_workspace(context, workspace)
    from pipelines.remote.push import push as run

    places = split_names(only) or ()
    summary = run(opened, url, places, delete, console.ConsoleProgress())
    console.show(summary, as_json, _render)


def _render(summary: Any) -> None:
    console.line(
        f"Sent {summary.sent:,} items, {summary.bytes:,} bytes; {summary.equal:,} were there."
    )
    if summary.removed:
        console.line(f"Removed {summary.removed:,} shards that the workspace lacks.")
    elif summary.extra:
        console.line(
            f"{summary.extra:,} shards there are not in the workspace: pushed from another "
            "machine, or left from older data. --delete removes them."
        )

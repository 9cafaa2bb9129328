"""`kaleido pull`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from kaleido_cli import console
from kaleido_cli.flags import settings_of
from kaleido_cli.options import (
    JsonOption,
    PartOption,
    PlacesOption,
    UrlArgument,
    read_part,
    require_local,
    split_names,
)

app = typer.Typer(add_completion=False)


@app.command(cls=settings_of(), epilog="Example: kaleido pull s3://bucket/birds -w birds")
def pull(
    url: UrlArgument,
    only: PlacesOption = None,
    part: PartOption = None,
    workspace: Annotated[
        Path,
        typer.Option(
            "--workspace",
            "-w",
            metavar="PATH",
            help="Where to; a new folder becomes a workspace with the settings that were pushed.",
        ),
    ] = Path("."),
    as_json: JsonOption = False,
) -> None:
    """Copy a workspace from an object store. Only what differs travels."""
    require_local(workspace)
    from pipelines.remote.pull import open_or_make
    from pipelines.remote.pull import pull as run

    opened = open_or_make(workspace, url)
    summary = run(opened, url, split_names(only) or (), read_part(part), console.ConsoleProgress())
    console.show(summary, as_json, _render)


def _render(summary: Any) -> None:
    console.line(
        f"Fetched {summary.fetched:,} items, {summary.bytes:,} bytes; {summary.equal:,} were here."
    )
    for name in summary.unfinished:
        console.line(f"{name} is left out: its push has not ended.")

"""`kaleido extract`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from kaleido_cli import console
from kaleido_cli.options import JsonOption, WorkspaceOption, open_workspace

app = typer.Typer(
    add_completion=False,
    help="Compute latents from the images. Shards that are up to date are skipped.",
    epilog="Example: kaleido extract all --workers 2",
)

WorkersOption = Annotated[
    int | None,
    typer.Option(min=1, help="Local processes (default: extract.workers).", show_default=False),
]


@app.command(epilog="Example: kaleido extract boxes")
def boxes(
    workers: WorkersOption = None, workspace: WorkspaceOption = None, as_json: JsonOption = False
) -> None:
    """Find objects and their boxes with the embedded detector."""
    _extract(("boxes",), workers, workspace, as_json)


@app.command(epilog="Example: kaleido extract blobs")
def blobs(
    workers: WorkersOption = None, workspace: WorkspaceOption = None, as_json: JsonOption = False
) -> None:
    """Fit an ellipse to each object's mask."""
    _extract(("blobs",), workers, workspace, as_json)


@app.command(epilog="Example: kaleido extract palette")
def palette(
    workers: WorkersOption = None, workspace: WorkspaceOption = None, as_json: JsonOption = False
) -> None:
    """Cluster the colours of each image."""
    _extract(("palette",), workers, workspace, as_json)


@app.command("all", epilog="Example: kaleido extract all --workers 2")
def every(
    workers: WorkersOption = None, workspace: WorkspaceOption = None, as_json: JsonOption = False
) -> None:
    """Compute every kind: boxes, blobs, palette."""
    _extract(("boxes", "blobs", "palette"), workers, workspace, as_json)


def _extract(kinds: tuple[str, ...], workers: int | None, path: Path | None, as_json: bool) -> None:
    from pipelines.extract.run import extract

    workspace = open_workspace(path, {"extract.workers": workers})
    summaries = extract(
        workspace, kinds, workspace.settings.extract.workers, console.ConsoleProgress()
    )
    console.show({summary.kind: summary for summary in summaries}, as_json, _render)


def _render(summaries: dict[str, object]) -> None:
    for kind, summary in summaries.items():
        console.show_counts(summary, kind)

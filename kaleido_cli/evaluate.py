"""`kaleido evaluate`."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from kaleido_cli import console
from kaleido_cli.options import JsonOption, WorkspaceOption, open_workspace

app = typer.Typer(add_completion=False)


@app.command(epilog="Example: kaleido evaluate --captions 16 --n 16 --name first")
def evaluate(
    captions: Annotated[
        int | None, typer.Option(min=1, help="Held-out captions.", show_default=False)
    ] = None,
    n: Annotated[
        int | None,
        typer.Option("--n", "-n", min=2, help="Samples a caption.", show_default=False),
    ] = None,
    steps: Annotated[
        int | None, typer.Option(min=1, help="Steps of the sampler.", show_default=False)
    ] = None,
    name: Annotated[str, typer.Option(help="Folder under reports/.")] = "evaluation",
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Compare Kaleido with the baseline at several guidance scales, and write a report.

    The defaults are the workspace's settings under evaluate.
    """
    from pipelines.evaluate.run import evaluate as run

    changes = {"evaluate.captions": captions, "evaluate.n": n, "evaluate.steps": steps}
    summary = run(open_workspace(workspace, changes), name=name, progress=console.ConsoleProgress())
    console.show(summary, as_json, _render)


def _render(summary: Any) -> None:
    console.line(f"Report: {summary.report}")

"""`kaleido clean`."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from kaleido_cli import console
from kaleido_cli.flags import settings_of
from kaleido_cli.options import JsonOption, WorkspaceOption, open_workspace

app = typer.Typer(add_completion=False)

LISTED = 20
"""How many leftovers are printed; --json gives all."""


@app.command(cls=settings_of(), epilog="Example: kaleido clean --yes")
def clean(
    context: typer.Context,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Remove the listed leftovers.")] = False,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """List what killed and replaced runs left; remove it with --yes.

    Only files that Kaleido wrote are removed: never your own, and never through a link.
    """
    from pipelines.workspace.clean import clean as run

    console.show(run(open_workspace(context, workspace), remove=yes), as_json, _render)


def _render(summary: Any) -> None:
    for item in summary.leftovers[:LISTED]:
        console.line(f"{item.path}: {item.reason}, {item.bytes:,} bytes")
    if (rest := len(summary.leftovers) - LISTED) > 0:
        console.line(f"and {rest:,} more")
    for path in summary.recovered:
        done = "recovered" if summary.removed else "can be recovered"
        console.line(f"{path}: a kill left only the replaced copy; {done}")
    number = len(summary.leftovers)
    count = f"{number:,} leftover{'s' * (number != 1)}, {summary.bytes:,} bytes"
    if not summary.leftovers and not summary.recovered:
        console.line("Nothing is left over.")
    elif summary.removed:
        console.line(f"Removed {count}.")
    else:
        console.line(f"{count}. Remove them with `kaleido clean --yes`.")

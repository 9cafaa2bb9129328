"""`kaleido init`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from kaleido_cli import console
from kaleido_cli.flags import changes_of, settings_of
from kaleido_cli.next_step import next_step
from kaleido_cli.options import JsonOption, require_local

app = typer.Typer(add_completion=False)


@app.command(cls=settings_of(), epilog="Example: kaleido init my-ws && cd my-ws")
def init(
    context: typer.Context,
    path: Annotated[Path, typer.Argument(help="The folder: a new one, or one that exists.")],
    as_json: JsonOption = False,
) -> None:
    """Make a workspace: a folder with a kaleido.toml that holds every setting."""
    from pipelines.workspace.config import override
    from pipelines.workspace.settings import Settings
    from pipelines.workspace.workspace import Workspace

    require_local(path)
    workspace = Workspace.init(path, override(Settings(), changes_of(context)))
    console.show(
        {"workspace": workspace.root},
        as_json,
        lambda result: console.line(f"Made the workspace {result['workspace']}"),
    )
    if not as_json:
        enter = "" if workspace.root == Path.cwd() else f"`cd {path}`, then "
        console.say(f"Next: {enter}{next_step(workspace)}")

"""`kaleido config`."""

from __future__ import annotations

from typing import Any

import typer

from kaleido_cli import console
from kaleido_cli.flags import changes_of, settings_of
from kaleido_cli.options import JsonOption, WorkspaceOption, open_workspace
from pipelines.workspace.settings import SETTINGS

app = typer.Typer(add_completion=False)


@app.command(cls=settings_of(), epilog="Example: kaleido config --json")
def config(
    context: typer.Context, workspace: WorkspaceOption = None, as_json: JsonOption = False
) -> None:
    """Show every setting, and whether it is the default or changed in kaleido.toml."""
    settings = open_workspace(context, workspace).settings
    found = {
        item.name: {
            "value": (value := getattr(getattr(settings, item.section), item.key)),
            "source": "command line"
            if item.name in changes_of(context)
            else "default"
            if value == item.default
            else "kaleido.toml",
        }
        for item in SETTINGS.values()
    }
    console.show(found, as_json, _render)


def _render(settings: dict[str, dict[str, Any]]) -> None:
    rows = [(name, _text(entry["value"]), entry["source"]) for name, entry in settings.items()]
    console.table(rows, ("setting", "value", "from"))


def _text(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)

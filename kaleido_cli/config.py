"""`kaleido config`."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import typer

from kaleido_cli import console
from kaleido_cli.options import JsonOption, WorkspaceOption, open_workspace

app = typer.Typer(add_completion=False)


@app.command(epilog="Example: kaleido config --json")
def config(workspace: WorkspaceOption = None, as_json: JsonOption = False) -> None:
    """Show every setting, and whether it is the default or changed in kaleido.toml."""
    from pipelines.workspace.settings import Settings

    found, defaults = asdict(open_workspace(workspace).settings), asdict(Settings())
    settings = {
        f"{section}.{name}": {
            "value": value,
            "source": "default" if value == defaults[section][name] else "kaleido.toml",
        }
        for section, values in found.items()
        for name, value in values.items()
    }
    console.show(settings, as_json, _render)


def _render(settings: dict[str, dict[str, Any]]) -> None:
    rows = [(name, _text(entry["value"]), entry["source"]) for name, entry in settings.items()]
    console.table(rows, ("setting", "value", "from"))


def _text(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)

"""`kaleido doctor`."""

from __future__ import annotations

from typing import Any

import typer

from kaleido_cli import console
from kaleido_cli.options import JsonOption

app = typer.Typer(add_completion=False)


@app.command(epilog="Example: kaleido doctor --json")
def doctor(as_json: JsonOption = False) -> None:
    """Show versions, devices, the embedded models, and what is installed."""
    from pipelines.doctor import examine

    console.show(examine(), as_json, _render)


def _render(found: dict[str, Any]) -> None:
    console.table(found["system"].items(), ("system", ""))
    console.line("")
    rows = [(name, version or "not installed", use) for name, version, use in found["packages"]]
    console.table(rows, ("package", "version", "used for"))
    console.line("")
    console.table(found["embedded"].items(), ("embedded model", "state"))
    if found["plugins"]:
        console.line("")
        console.table(found["plugins"], ("plug-ins for", "name", "package", "state"))

"""`kaleido demo`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from kaleido_cli import console
from kaleido_cli.options import JsonOption

app = typer.Typer(add_completion=False)


@app.command(epilog="Example: kaleido demo /tmp/kaleido-demo")
def demo(
    path: Annotated[Path, typer.Argument(help="A new folder for its workspace.")] = Path(
        "kaleido-demo"
    ),
    as_json: JsonOption = False,
) -> None:
    """Run the whole chain, small: scenes, latents, training, pictures and a report.

    It trains both models briefly from scratch to show that this works, then compares the embedded
    models, baseline against Kaleido. It takes some minutes on two cores and downloads nothing.
    """
    from pipelines.demo import demo as run

    report = run(path, console.ConsoleProgress())
    console.show(
        {"report": report}, as_json, lambda result: console.line(f"Report: {result['report']}")
    )

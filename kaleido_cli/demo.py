"""`kaleido demo`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from kaleido_cli import console
from kaleido_cli.flags import changes_of, settings_of
from kaleido_cli.options import JsonOption, require_local
from pipelines.core.progress import format_seconds

app = typer.Typer(add_completion=False)


@app.command(cls=settings_of(), epilog="Example: kaleido demo /tmp/kaleido-demo")
def demo(
    context: typer.Context,
    path: Annotated[Path, typer.Argument(help="A new folder for its workspace.")] = Path(
        "kaleido-demo"
    ),
    as_json: JsonOption = False,
) -> None:
    """Run the whole chain, small: scenes, latents, training, pictures and a report.

    It trains models for a few steps to show how, then compares the embedded Kaleido with its
    baseline. It takes about four minutes on two idle cores and downloads nothing. The same command
    goes on where a demo was stopped.
    """
    require_local(path)
    from pipelines.demo import demo as run

    console.show(run(path, console.ConsoleProgress(), changes_of(context)), as_json, _render)


def _render(summary: Any) -> None:
    rows = [(step, format_seconds(taken)) for step, taken in summary.seconds.items()]
    rows.append(("in all", format_seconds(sum(summary.seconds.values()))))
    console.table(rows, ("step", "time"))
    console.line(f"Report: {summary.report}")
    console.say(
        "Next: open the report in a browser, then `kaleido init my-ws` for your own pictures."
    )

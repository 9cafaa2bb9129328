"""`kaleido doctor`."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from kaleido_cli import console
from kaleido_cli.captions import open_for_captions
from kaleido_cli.flags import settings_of
from kaleido_cli.options import JsonOption, WorkspaceOption

app = typer.Typer(add_completion=False)


@app.command(cls=settings_of("compute.*"), epilog="Example: kaleido doctor --bench")
def doctor(
    context: typer.Context,
    bench: Annotated[
        bool,
        typer.Option(
            "--bench",
            help="Measure which settings of [sample] draw fastest here, with the workspace's "
            "models or the embedded ones.",
        ),
    ] = False,
    compile: Annotated[
        bool,
        typer.Option("--compile", help="With --bench: also compile, minutes on a CPU."),
    ] = False,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show versions, devices, the embedded models, and what is installed."""
    if compile and not bench:
        raise typer.BadParameter("--compile needs --bench.")
    if bench:
        opened = open_for_captions(context, workspace, has_captions=True)
        from pipelines.sample.bench import bench as measure
        from pipelines.sample.bundle import load_bundle

        found = measure(load_bundle(opened), compile, progress=console.ConsoleProgress())
        console.show(found, as_json, _render_bench)
        return
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


def _render_bench(found: Any) -> None:
    console.line(f"The {found.model} models on {found.device}")
    console.line("")
    for title, rows in (("way", found.ways), ("batch", found.batches)):
        shown = [
            (
                (", ".join(each.speed) or "plain") if title == "way" else str(each.batch),
                f"{each.milliseconds:.2f}",
                f"{each.ratio:.2f} ({each.low:.2f} to {each.high:.2f})",
            )
            for each in rows
            if not each.failed
        ]
        console.table(shown, (title, "ms a picture and pass", "speed"))
        console.line("")
    for reason in found.reasons:
        console.line(reason)
    console.line("")
    console.line("To draw so, put this into kaleido.toml; nothing has been changed:")
    console.line("")
    console.line("[sample]")
    names = ", ".join(f'"{way}"' for way in found.speed)
    console.line(f"speed = [{names}]")
    console.line(f"batch_size = {found.batch_size}")

"""`kaleido evaluate`."""

from __future__ import annotations

import math
from typing import Annotated, Any

import typer

from kaleido_cli import console
from kaleido_cli.options import (
    JsonOption,
    WorkspaceOption,
    ZOption,
    open_workspace,
    split_names,
    split_numbers,
)

app = typer.Typer(add_completion=False)


@app.command(
    epilog="Example: kaleido evaluate --captions 16 --n 16 --sweep cfg=1,3,7.5 --name first"
)
def evaluate(
    captions: Annotated[
        int | None, typer.Option(help="Held-out captions.", show_default=False)
    ] = None,
    n: Annotated[
        int | None,
        typer.Option("--n", "-n", min=2, help="Samples a caption and seed.", show_default=False),
    ] = None,
    sweep: Annotated[
        str | None,
        typer.Option(metavar="cfg=SCALES", help="Guidance scales, with commas: cfg=1,3,7.5."),
    ] = None,
    models: Annotated[
        str | None,
        typer.Option(
            metavar="MODELS",
            help="baseline, kaleido, or both, with a comma; one alone is compared with nothing.",
        ),
    ] = None,
    z: ZOption = None,
    steps: Annotated[
        int | None, typer.Option(help="Steps of the sampler.", show_default=False)
    ] = None,
    seeds: Annotated[
        str | None, typer.Option(metavar="SEEDS", help="Seeds, with commas: 0,1,2.")
    ] = None,
    training: Annotated[
        int | None,
        typer.Option(help="Training pictures searched for copies; 0: all.", show_default=False),
    ] = None,
    features: Annotated[
        str | None,
        typer.Option(
            metavar="MODEL",
            help="Measure data of any kind, in the features of this vision model of transformers "
            "(DINOv2, CLIP, SigLIP): a folder or a name on the hub.",
        ),
    ] = None,
    track: Annotated[
        str | None,
        typer.Option(
            metavar="TRACKER",
            help="Give the numbers to tensorboard or trackio too (extras: track, trackio).",
        ),
    ] = None,
    embedded: Annotated[
        bool,
        typer.Option(
            "--embedded",
            help="Compare the embedded models, whatever the workspace holds.",
        ),
    ] = False,
    toy: Annotated[
        bool,
        typer.Option(
            "--toy",
            help="Draw the paper's toy into reports/toy instead: two classes of two modes.",
        ),
    ] = False,
    name: Annotated[str, typer.Option(help="Folder under reports/.")] = "evaluation",
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Compare Kaleido with the baseline at several guidance scales, and write a report.

    The defaults are the workspace's settings under evaluate. An HTML page and report.json go to
    reports/NAME. An interrupted run goes on where it was. A judge looks at scenes; other data are
    compared with held-out pictures, in the features of a network that --features names.
    """
    changes = {
        "evaluate.features": features,
        "evaluate.captions": captions,
        "evaluate.n": n,
        "evaluate.cfg": _scales(sweep),
        "evaluate.steps": steps,
        "evaluate.seeds": split_numbers(seeds, "--seeds", int),
        "evaluate.training": training,
    }
    if toy:
        given = (*changes.values(), models, z, track)
        if embedded or name != "evaluation" or any(value is not None for value in given):
            raise typer.BadParameter("--toy goes with --workspace and --json only.")
        from pipelines.scenes.toy_page import evaluate_toy

        console.show(evaluate_toy(open_workspace(workspace)), as_json, _render_toy)
        return
    from pipelines.evaluate.run import evaluate as run

    summary = run(
        open_workspace(workspace, changes),
        name=name,
        embedded=embedded,
        models=split_names(models),
        z_kinds=split_names(z),
        tracker=track,
        progress=console.ConsoleProgress(),
    )
    console.show(summary, as_json, _render)


def _scales(text: str | None) -> tuple[float, ...] | None:
    """Read ``cfg=1,3,7.5``."""
    if text is None:
        return None
    what, equals, values = text.partition("=")
    if not equals or what.strip() != "cfg":
        raise typer.BadParameter(
            f"{text!r} is not like cfg=1,3,7.5; only the guidance scale is swept.",
            param_hint="--sweep",
        )
    return split_numbers(values, "--sweep", float)


def _render(summary: Any) -> None:
    rows = [
        (row["metric"], row["model"], _number(row["cfg"]), _number(row["value"]), _interval(row))
        for row in summary.rows
    ]
    console.table(rows, ("metric", "model", "CFG", "value", "95 % interval"))
    if summary.reused:
        console.line(f"{summary.reused} of {summary.cells} cells were finished by an earlier run.")
    if summary.void:
        console.line(f"The comparison is void: {summary.void}")
    console.line(f"Report: {summary.report}")


def _render_toy(summary: Any) -> None:
    rows = [
        (row["metric"], row["model"], _number(row["cfg"]), _number(row["value"]))
        for row in summary.rows
    ]
    console.table(rows, ("metric", "model", "CFG", "value"))
    console.line(f"Report: {summary.report}")


def _number(value: float | None) -> str:
    return "–" if value is None or math.isnan(value) else f"{value:.3g}"


def _interval(row: dict[str, Any]) -> str:
    ends = [_number(row[end]) for end in ("low", "high")]
    return "–" if "–" in ends else " to ".join(ends)

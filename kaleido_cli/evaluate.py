"""`kaleido evaluate`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from kaleido_cli import console
from kaleido_cli.captions import open_for_captions
from kaleido_cli.completion import complete_models, complete_reports
from kaleido_cli.flags import changes_of, settings_of
from kaleido_cli.options import (
    JsonOption,
    WorkspaceOption,
    ZOption,
    open_workspace,
    split_names,
)
from pipelines.core.errors import KaleidoError, nearest
from pipelines.models.metadata import read_metadata
from pipelines.models.registry import uses_own_models

if TYPE_CHECKING:
    from pipelines.workspace.workspace import Workspace

app = typer.Typer(add_completion=False)


@app.command(
    cls=settings_of("evaluate.*", "drawing.*", "compute.*"),
    epilog="Example: kaleido evaluate --captions 16 --n 16 --cfg 1,3,7.5 --name first",
)
def evaluate(
    context: typer.Context,
    models: Annotated[
        str | None,
        typer.Option(
            metavar="MODELS",
            help="baseline, kaleido, or both, separated by a comma; a single one is not compared.",
            autocompletion=complete_models,
        ),
    ] = None,
    z: ZOption = None,
    track: Annotated[
        str | None,
        typer.Option(
            metavar="TRACKER",
            help="Also log the numbers to tensorboard or trackio (extras: track, trackio).",
        ),
    ] = None,
    embedded: Annotated[
        bool,
        typer.Option(
            "--embedded",
            help="Compare the embedded models instead of the workspace's models.",
        ),
    ] = False,
    pictures: Annotated[
        list[str] | None,
        typer.Option(
            "--pictures",
            metavar="FOLDER",
            help="Compare folders of pictures by any model, caption by caption: give it twice or "
            "more, the folder to compare with first. A name below samples/ will do.",
            show_default=False,
        ),
    ] = None,
    toy: Annotated[
        bool,
        typer.Option(
            "--toy",
            help="Only draw the paper's toy example, two classes of two modes, to reports/toy.",
        ),
    ] = False,
    name: Annotated[
        str, typer.Option(help="Folder under reports/.", autocompletion=complete_reports)
    ] = "evaluation",
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Compare Kaleido with the baseline at several guidance scales, and write a report.

    The defaults are the workspace's settings under evaluate. An HTML page and report.json are
    written to reports/NAME. An interrupted run resumes where it stopped. A judge scores scenes;
    other data are compared with held-out pictures in the features of the --features network.
    With --pictures nothing is drawn: the diversity of the pictures in folders is compared.
    """
    if pictures:
        if embedded or toy or models or z or track:
            raise typer.BadParameter(
                "--pictures excludes --models, --z, --track, --embedded and --toy."
            )
        _compare_folders(context, workspace, pictures, name, as_json)
        return
    if toy:
        given = (*changes_of(context).values(), models, z, track)
        if embedded or name != "evaluation" or any(value is not None for value in given):
            raise typer.BadParameter("--toy can only be combined with --workspace and --json.")
        from pipelines.scenes.toy_page import evaluate_toy

        console.show(evaluate_toy(open_workspace(context, workspace)), as_json, _render_toy)
        return
    from pipelines.evaluate.metrics.compare import MODELS

    opened, asked = open_workspace(context, workspace), split_names(models) or MODELS
    _require_models(opened, asked, embedded)
    from pipelines.evaluate.run import evaluate as run
    from pipelines.protocols import choose_protocol

    summary = run(
        opened,
        choose_protocol(opened, embedded),
        name=name,
        embedded=embedded,
        models=asked,
        z_kinds=split_names(z),
        tracker=track,
        progress=console.ConsoleProgress(),
    )
    console.show(summary, as_json, _render)


def _compare_folders(
    context: typer.Context, path: Path | None, pictures: Sequence[str], name: str, as_json: bool
) -> None:
    read = ("evaluate.features", "evaluate.n")
    changes = changes_of(context)
    if unread := [key for key in changes if key.startswith("evaluate.") and key not in read]:
        flag = f"--{unread[0].removeprefix('evaluate.')}"
        raise typer.BadParameter(f"--pictures excludes {flag}: nothing is drawn.")
    opened = open_for_captions(context, path, has_captions=True)
    from pipelines.evaluate.folders.run import compare_folders

    progress = console.ConsoleProgress()
    summary = compare_folders(opened, pictures, name, changes.get("evaluate.n"), progress)
    console.show(summary, as_json, _render_folders)


def _require_models(workspace: Workspace, names: Sequence[str], embedded: bool) -> None:
    """Check that the models exist before heavy imports.

    Raises:
        KaleidoError: If a name is unknown, or the workspace lacks a model.
    """
    from pipelines.evaluate.metrics.compare import MODELS

    for name in names:
        if name not in MODELS:
            raise KaleidoError(
                f"model {name!r}", "it is unknown.", nearest(name, MODELS), code="bad-option"
            )
    if embedded or not uses_own_models(workspace):
        return
    read_metadata(workspace.models("prior"), "prior", "Run `kaleido train prior` first.")
    for name, folder, flag in (
        ("kaleido", "diffusion", ""),
        ("baseline", "baseline", " --baseline"),
    ):
        if name in names:
            hint = f"Run `kaleido train diffusion{flag}` first, or compare --embedded models."
            read_metadata(workspace.models(folder), f"{folder} model", hint)


def _render(summary: Any) -> None:
    rows = [
        (row["metric"], row["model"], _number(row["cfg"]), _number(row["value"]), _interval(row))
        for row in summary.rows
    ]
    console.table(rows, ("metric", "model", "CFG", "value", "95 % interval"))
    if summary.reused:
        console.line(f"{summary.reused} of {summary.cells} cells were finished by an earlier run.")
    if summary.void:
        console.line(f"No verdict: {summary.void}")
    console.line(f"Report: {summary.report}")


def _render_folders(summary: Any) -> None:
    rows = [
        (
            row["metric"],
            row["folder"],
            _number(row["value"]),
            _interval(row),
            _difference(row["difference"]),
        )
        for row in summary.rows
    ]
    console.table(rows, ("metric", "folder", "value", "95 % interval", "difference"))
    for text in (*summary.warnings, *summary.answers):
        console.line(text)
    console.line(f"Report: {summary.report}")


def _difference(change: dict[str, Any] | None) -> str:
    return "–" if change is None else f"{_number(change['value'])} ({_interval(change)})"


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

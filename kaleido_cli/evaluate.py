"""`kaleido evaluate`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from kaleido_cli import console
from kaleido_cli.completion import complete_models, complete_reports
from kaleido_cli.evaluate_pictures import Asked, compare_pictures, compare_with_base
from kaleido_cli.flags import changes_of, settings_of
from kaleido_cli.numbers import ends, number
from kaleido_cli.options import (
    JsonOption,
    PlannerOption,
    WorkspaceOption,
    ZOption,
    open_workspace,
    split_names,
)
from kaleido_cli.with_base import require_no_base_flags
from pipelines.core.errors import KaleidoError, nearest
from pipelines.models.metadata import read_metadata
from pipelines.models.registry import uses_own_models

if TYPE_CHECKING:
    from pipelines.workspace.workspace import Workspace

app = typer.Typer(add_completion=False)

OF_BASE = ("CAPTION", "--prompts", "--planner")
_OF_OWN_MODELS = ("--models", "--track", "--embedded", "--toy")
EXCLUDED = {
    "--pictures": ("--base", "--z", *OF_BASE, *_OF_OWN_MODELS),
    "--base": _OF_OWN_MODELS,
}
"""Flags that make no sense together: folders are not drawn, and bases are not our models."""


@app.command(
    cls=settings_of("evaluate.*", "base.*", "drawing.*", "server.*", "compute.*"),
    epilog="Example: kaleido evaluate --captions 16 --n 16 --cfg 1,3,7.5 --name first",
)
def evaluate(
    context: typer.Context,
    caption: Annotated[
        str | None, typer.Argument(help="What a --base draws.", show_default=False)
    ] = None,
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
    base: Annotated[
        str | None,
        typer.Option(
            "--base",
            metavar="MODEL",
            help="Draw CAPTION, or --prompts, with a text-to-image model of others, plainly and of "
            "z, and compare the pictures: the folder of a diffusers pipeline, or its name.",
        ),
    ] = None,
    planner: PlannerOption = None,
    detect: Annotated[
        bool,
        typer.Option(
            "--detect",
            help="With --pictures or --base: also look for what captions and z ask for, with the "
            "detector of [extract] (boxes_model).",
        ),
    ] = False,
    prompts: Annotated[
        str | None,
        typer.Option(
            "--prompts", metavar="FILE", help="Captions for --base, one a line; - is a pipe."
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
    With --pictures nothing is drawn: the diversity of the pictures in folders is compared. With
    --base a model of others draws the pictures first.
    """
    _refuse_combinations(
        {
            "--pictures": bool(pictures),
            "--base": base is not None,
            "--toy": toy,
            "--models": models is not None,
            "--track": track is not None,
            "--embedded": embedded,
            "--z": z is not None,
            "--planner": planner is not None,
            "--detect": detect,
            "--prompts": prompts is not None,
            "CAPTION": caption is not None,
        }
    )
    if pictures:
        compare_pictures(context, workspace, pictures, name, detect, as_json)
        return
    if base is not None:
        wanted = Asked(base, caption, prompts, planner, z, name, detect)
        compare_with_base(context, workspace, wanted, as_json)
        return
    require_no_base_flags(changes_of(context))
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


def _refuse_combinations(given: Mapping[str, bool]) -> None:
    """Refuse flags that make no sense together, and those of bases without one."""
    for flag, others in EXCLUDED.items():
        if given[flag] and (clash := [other for other in others if given[other]]):
            raise typer.BadParameter(f"{flag} excludes {', '.join(clash)}.")
    for flag in OF_BASE:
        if given[flag] and not given["--base"]:
            raise typer.BadParameter(f"{flag} needs --base.")
    if given["--detect"] and not (given["--pictures"] or given["--base"]):
        raise typer.BadParameter("--detect needs --pictures or --base.")


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
        (row["metric"], row["model"], number(row["cfg"]), number(row["value"]), ends(row))
        for row in summary.rows
    ]
    console.table(rows, ("metric", "model", "CFG", "value", "95 % interval"))
    if summary.reused:
        console.line(f"{summary.reused} of {summary.cells} cells were finished by an earlier run.")
    if summary.void:
        console.line(f"No verdict: {summary.void}")
    console.line(f"Report: {summary.report}")


def _render_toy(summary: Any) -> None:
    rows = [
        (row["metric"], row["model"], number(row["cfg"]), number(row["value"]))
        for row in summary.rows
    ]
    console.table(rows, ("metric", "model", "CFG", "value"))
    console.line(f"Report: {summary.report}")

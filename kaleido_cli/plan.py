"""`kaleido plan`."""

from __future__ import annotations

import shlex
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from kaleido_cli import console
from kaleido_cli.captions import captions_of, open_for_captions, warn_of_unknown_words
from kaleido_cli.control import Asked
from kaleido_cli.flags import settings_of
from kaleido_cli.options import (
    DiverseOption,
    ForbidOption,
    GivenOption,
    JsonOption,
    PlannerOption,
    RequireOption,
    WorkspaceOption,
    ZOption,
    split_names,
)

app = typer.Typer(add_completion=False)

KALEIDO = "kaleido.z"

DOCUMENTS = "documents.z.jsonl"
"""The file that `kaleido sample --from-z` reads."""


@app.command(
    cls=settings_of(
        "sample.n",
        "sample.*seed",
        "sample.temperature",
        "sample.top_*",
        "sample.*_p",
        "sample.repetition_penalty",
        "sample.no_repeat_ngram",
        "sample.z_*",
        "server.*",
    ),
    epilog='Example: kaleido plan "two circles and a star" --n 8 --diverse 64',
)
def plan(
    context: typer.Context,
    caption: Annotated[str | None, typer.Argument(help="What to plan.", show_default=False)] = None,
    captions: Annotated[
        str | None,
        typer.Option("--captions", metavar="FILE", help="A file with one caption a line, or -."),
    ] = None,
    base: Annotated[
        str | None,
        typer.Option(
            "--base",
            metavar="MODEL",
            help="Also write the prompts that a text-to-image model of others would get, and say "
            "what does not fit; its folder, or its name on the hub. No weights are read.",
        ),
    ] = None,
    planner: PlannerOption = None,
    z: ZOption = None,
    diverse: DiverseOption = None,
    draws: Annotated[
        int,
        typer.Option(
            "--draws",
            min=1,
            metavar="K",
            help="With --planner: plan K - 1 times more, with other seeds, and give the spread "
            "with an interval over the K draws. The first draw is written.",
        ),
    ] = 1,
    require: RequireOption = None,
    forbid: ForbidOption = None,
    given: GivenOption = None,
    target: Annotated[
        str, typer.Option("--to", metavar="FORMAT", help="The format; see `kaleido z formats`.")
    ] = KALEIDO,
    allow_loss: Annotated[
        str | None,
        typer.Option("--allow-loss", metavar="KINDS", help="Losses to accept, or all."),
    ] = None,
    name: Annotated[str | None, typer.Option(help="Folder under plans/.")] = None,
    out: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Write there, and not into plans/NAME.")
    ] = None,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Draw z alone, in seconds: documents for other models, and a sheet of the layouts.

    `kaleido sample --from-z` draws the pictures of a plan. With --base, prompts.jsonl holds what
    `kaleido sample --base` would send.
    """
    if name is not None and out is not None:
        raise typer.BadParameter("give --name or --out, not both.")
    if draws > 1 and planner is None:
        raise typer.BadParameter("--draws needs --planner.")
    if base is not None and target != KALEIDO:
        raise typer.BadParameter("--base excludes --to: the base's own format is written.")
    asked_of_z = Asked.of(require, forbid, given)
    if planner is not None and asked_of_z:
        raise typer.BadParameter("--planner excludes --require, --forbid and --given.")
    opened = open_for_captions(context, workspace, has_captions=bool(caption or captions or given))
    asked = captions_of(caption, captions, opened.settings.data.max_caption)
    control, of_given = asked_of_z.control()
    asked = asked or ([of_given] if of_given else None)
    if not asked:
        raise typer.BadParameter("give a CAPTION or --captions.")
    if base is not None:
        from pipelines.bases.folder import open_folder

        open_folder(base, with_weights=False)  # a mistake in its name shows first
    options = (
        asked,
        split_names(z),
        diverse,
        target,
        split_names(allow_loss) or (),
        out or name,
        console.ConsoleProgress(),
    )
    if planner is not None:
        from pipelines.plan.run import plan_by

        sets = plan_by(opened, planner, *options, draws)
        console.show(_with_prompts(sets, base), as_json, _render_sets)
        return
    warn_of_unknown_words(opened, asked)

    from pipelines.plan.run import plan_captions

    plans = plan_captions(opened, *options, control)
    console.show(_with_prompts(plans, base), as_json, _render)


def _with_prompts(summary: Any, base: str | None) -> Any:
    """Write the prompts of the plans for a base, if one is named."""
    if base is None:
        return summary
    from pipelines.plan.prompts import write_prompts

    written = write_prompts(summary.folder / DOCUMENTS, base, console.ConsoleProgress())
    return replace(summary, prompts=written)


def _render(summary: Any) -> None:
    for group in summary.captions:
        console.line(f"{group.caption}: {len(group.plans):,} plans")
        if group.gain is not None:
            console.show_gain(group.gain)
        if group.contradicting:
            console.line(f"  {group.contradicting:,} state places or sizes that their boxes lack")
    console.line(f"z of {', '.join(summary.z_kinds)} by the {summary.source} prior")
    _render_files(summary)


def _render_sets(summary: Any) -> None:
    for group in summary.captions:
        found = group.repetition
        console.line(f"{group.caption}: {group.plans:,} plans of {found.pool:,}")
        console.line(f"  fixed: {', '.join(group.fixed) or 'nothing'}")
        console.line(f"  open: {', '.join(group.open)}")
        alike = "" if found.self_bleu4 is None else f", self-BLEU-4 {found.self_bleu4:.2f}"
        console.line(
            f"  spread {found.spread:.2f} in place of {found.spread_of_first:.2f}, "
            f"distinct-2 {found.distinct2:.2f}{alike}"
        )
    if summary.drawn is not None:
        _render_draws(summary.drawn)
    faults = ", ".join(f"{count:,} {name}" for name, count in summary.faults.items())
    console.line(f"Planner: {summary.planner}" + f"; not taken: {faults}" * bool(faults))
    if summary.spent:
        console.line(summary.spent)
    _render_files(summary)


def _render_draws(drawn: Any) -> None:
    spread, first = (
        f"{each.value:.2f} (95 % interval {each.low:.2f} to {each.high:.2f})"
        for each in (drawn.spread, drawn.spread_of_first)
    )
    console.line(f"Over {drawn.draws:,} draws: spread {spread}, in drawing order {first}")


def _render_files(summary: Any) -> None:
    console.line(f"Documents: {summary.folder / summary.files[0]}" + _more(len(summary.files)))
    console.line(f"Sheet: {summary.sheet}")
    found = summary.prompts
    if found is not None:
        console.line(
            f"Prompts for {found.base}: {found.file}; "
            f"{found.whole:,} of {found.count:,} say all of z"
        )
    elif summary.files == [DOCUMENTS]:
        path = shlex.quote(str(summary.folder / DOCUMENTS))
        console.say(f"Next: `kaleido sample --from-z {path}` draws the pictures.")


def _more(count: int) -> str:
    return f" and {count - 1:,} more" if count > 1 else ""

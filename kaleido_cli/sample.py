"""`kaleido sample`."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from kaleido_cli import console
from kaleido_cli.captions import (
    captions_of,
    open_for_captions,
    require_models,
    warn_of_unknown_words,
)
from kaleido_cli.completion import complete_samples
from kaleido_cli.control import Asked
from kaleido_cli.flags import changes_of, settings_of
from kaleido_cli.options import (
    DiverseOption,
    ForbidOption,
    GivenOption,
    JsonOption,
    PlannerOption,
    RequireOption,
    WorkspaceOption,
    ZOption,
    read_bytes,
    require_place,
    split_names,
)
from kaleido_cli.with_base import Wanted, draw_with_base, require_no_base_flags
from pipelines.core.errors import KaleidoError

if TYPE_CHECKING:
    from pipelines.workspace.workspace import Workspace

app = typer.Typer(add_completion=False)

_CONTROL = ("--require", "--forbid", "--given", "--verify")

EXCLUDED = {
    "--name": ("--out",),
    "--from-z": ("--captions", "--planner", "--z", "--diverse", "--baseline", *_CONTROL),
    "--base": _CONTROL,
    "--baseline": ("--planner", "--diverse", *_CONTROL),
    "--diverse": ("--verify",),
}
"""Flags that make no sense together: a baseline has no z, and a given z is not drawn."""


@app.command(
    cls=settings_of("sample.*", "base.*", "server.*", "drawing.*", "compute.*"),
    epilog='Example: kaleido sample "two circles and a star" --n 16 --seed 7 --name stars',
)
def sample(
    context: typer.Context,
    caption: Annotated[
        str | None,
        typer.Argument(help="What to draw; without one, held-out captions.", show_default=False),
    ] = None,
    captions: Annotated[
        str | None,
        typer.Option(
            "--captions",
            metavar="FILE",
            help="A file with one caption a line; - is standard input, read to its end. Without "
            "CAPTION and --captions a pipe is read too, unless nothing comes for a second.",
        ),
    ] = None,
    from_z: Annotated[
        str | None,
        typer.Option(
            "--from-z",
            metavar="FILE",
            help="Draw the z of a file: z documents, or a samples.jsonl; - is standard input. "
            "The samples of a samples.jsonl keep their noise.",
        ),
    ] = None,
    base: Annotated[
        str | None,
        typer.Option(
            "--base",
            metavar="MODEL",
            help="Draw with a text-to-image model of others: the folder of a diffusers pipeline, "
            "or its name on the Hugging Face hub. z becomes its prompt.",
        ),
    ] = None,
    planner: PlannerOption = None,
    z: ZOption = None,
    diverse: DiverseOption = None,
    require: RequireOption = None,
    forbid: ForbidOption = None,
    given: GivenOption = None,
    verify: Annotated[
        int | None,
        typer.Option(
            "--verify",
            min=0,
            metavar="TIMES",
            help="Look for what is required in the pictures, with the detector of [extract], and "
            "draw those that lack it again, at most so often.",
            show_default=False,
        ),
    ] = None,
    name: Annotated[
        str | None,
        typer.Option(
            help="Folder under samples/; by default from the caption.",
            autocompletion=complete_samples,
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Write there, and not into samples/NAME."),
    ] = None,
    baseline: Annotated[bool, typer.Option("--baseline", help="Use the model without z.")] = False,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Draw pictures: z from the caption without guidance, then the picture with it.

    PNG files, a contact sheet and samples.jsonl go to samples/NAME. Without models of your own the
    embedded ones draw; they know simple shapes, and need no workspace. With --base a model of
    others draws, with the guidance and steps that are usual for it unless --cfg and --steps are
    given.
    """
    _refuse_combinations(
        {
            "--name": name is not None,
            "--out": out is not None,
            "--captions": captions is not None,
            "--from-z": from_z is not None,
            "--base": base is not None,
            "--planner": planner is not None,
            "--z": z is not None,
            "--diverse": diverse is not None,
            "--require": bool(require),
            "--forbid": bool(forbid),
            "--given": given is not None,
            "--verify": verify is not None,
            "--baseline": baseline,
        }
    )
    asked_of_z = Asked.of(require, forbid, given)
    opened = open_for_captions(
        context, workspace, has_captions=bool(caption or captions or from_z or given)
    )
    if base is not None:
        _require_local(opened)
        wanted = Wanted(caption, captions, from_z, split_names(z), diverse, baseline, planner)
        draw_with_base(opened, base, wanted, changes_of(context), out or name, as_json)
        return
    require_no_base_flags(changes_of(context))
    if from_z is not None:
        _draw_given(opened, from_z, caption, out or name, as_json)
        return
    asked = captions_of(caption, captions, opened.settings.data.max_caption)
    require_place(opened, out or name)
    require_models(opened, baseline)
    if asked:
        warn_of_unknown_words(opened, asked)

    place, kinds, progress = out or name, split_names(z), console.ConsoleProgress()
    control, of_given = asked_of_z.control()
    asked = asked or ([of_given] if of_given else None)
    if diverse is not None:
        from pipelines.plan.pictures import sample_diverse

        chosen = sample_diverse(opened, asked, diverse, place, kinds, progress, control)
        console.show(chosen, as_json, _render_diverse)
        return
    if verify is not None:
        from pipelines.plan.verified import sample_verified

        verified = sample_verified(opened, asked, control, verify, place, kinds, progress)
        console.show(verified, as_json, _render_verified)
        return
    from pipelines.sample.run import sample as draw

    summary = draw(
        opened,
        asked,
        name=place,
        baseline=baseline,
        z_kinds=kinds,
        progress=progress,
        control=control,
    )
    console.show(summary, as_json, _render)


def _refuse_combinations(given: Mapping[str, bool]) -> None:
    """Refuse flags that exclude each other, and a planner without a base."""
    for flag, others in EXCLUDED.items():
        if given[flag] and (clash := [other for other in others if given[other]]):
            raise typer.BadParameter(f"{flag} excludes {', '.join(clash)}.")
    if given["--planner"] and not given["--base"]:
        raise typer.BadParameter("--planner needs --base.")


def _require_local(workspace: Workspace) -> None:
    if workspace.settings.drawing.engine != "local":
        raise KaleidoError(
            "--engine ray",
            "pictures of --base are drawn on this machine.",
            "Add --engine local.",
            code="bad-option",
        )


def _draw_given(
    workspace: Workspace, source: str, caption: str | None, name: str | Path | None, as_json: bool
) -> None:
    from pipelines.data.caption_files import clean_caption

    if caption is not None:
        caption = clean_caption(caption, "caption", workspace.settings.data.max_caption)
    data, label = read_bytes(source)
    require_models(workspace)

    from pipelines.sample.run import sample_from_z

    progress = console.ConsoleProgress()
    settings = workspace.settings.sample
    summary = sample_from_z(workspace, data, label, settings, caption, name, progress)
    console.show(summary, as_json, _render)


def _render_diverse(summary: Any) -> None:
    for choice in summary.choices:
        console.line(choice.caption)
        console.show_gain(choice.gain)
    _render(summary)


def _render_verified(summary: Any) -> None:
    console.line(
        f"The detector found all that was required in {summary.verified:,} of "
        f"{summary.samples:,} pictures, in {summary.at_once:,} at once; "
        f"{summary.tries:,} were drawn"
    )
    _render(summary)


def _render(summary: Any) -> None:
    console.line(
        f"{summary.samples:,} samples of {summary.captions:,} captions by {summary.model} "
        f"({summary.source} models)"
    )
    if summary.rejected:
        none = f"; {summary.unsound:,} samples found no sound one" if summary.unsound else ""
        console.line(f"{summary.rejected:,} z were not sound and were drawn again{none}")
    console.line(f"Contact sheet: {summary.sheet}")
    if summary.model == "kaleido":  # a baseline has no z to change
        first = shlex.quote(str(min(summary.folder.glob("[0-9]*.png"))))
        console.say(f"Next: `kaleido edit {first} --open` changes what a sample shows.")

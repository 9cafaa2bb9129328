"""`kaleido train`."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict
from math import isnan
from typing import TYPE_CHECKING, Annotated, Any

import typer

from kaleido_cli import console
from kaleido_cli.flags import settings_of
from kaleido_cli.next_step import show_next_step
from kaleido_cli.options import JsonOption, WorkspaceOption, open_workspace
from pipelines.core.errors import KaleidoError
from pipelines.models.metadata import read_metadata
from pipelines.models.registry import own_models
from pipelines.train.launch import asked_by_launcher, is_first_rank, is_launched, launch
from pipelines.workspace.inputs import require_data, training_kinds
from pipelines.workspace.presets import PRESETS, preset_settings

if TYPE_CHECKING:
    from pipelines.train.footprint import Footprint
    from pipelines.workspace.workspace import Workspace

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    help="Train tokenizer, prior and denoiser. An unfinished run resumes where it stopped.",
    epilog="Example: kaleido train prior && kaleido train diffusion",
)

RestartOption = Annotated[
    bool, typer.Option("--restart", help="Start again and discard an unfinished run.")
]
DryRunOption = Annotated[
    bool,
    typer.Option("--dry-run", help="Estimate memory, disk and steps; train nothing."),
]
YesOption = Annotated[
    bool,
    typer.Option("--yes", "-y", help="With --restart: replace a finished model without asking."),
]

PresetOption = Annotated[
    str | None,
    typer.Option(
        "--preset",
        metavar="|".join(PRESETS),
        help="A named set of settings; flags change single ones.",
        autocompletion=lambda incomplete: [name for name in PRESETS if name.startswith(incomplete)],
        show_default=False,
    ),
]


@app.command(
    cls=settings_of("tokenizer.*", "train.*", "compute.*"),
    epilog="Example: kaleido train tokenizer --steps 2000 --batch-size 64",
)
def tokenizer(
    context: typer.Context,
    restart: RestartOption = False,
    yes: YesOption = False,
    dry_run: DryRunOption = False,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Train the visual tokenizer, which encodes pictures as grids of tokens and decodes them."""
    opened = open_workspace(context, workspace)
    require_data(opened)
    if dry_run:
        from pipelines.train.footprint import tokenizer_footprint

        return _show_footprint(tokenizer_footprint(opened), as_json)
    _begin(opened, "tokenizer", restart, yes)
    from pipelines.train.footprint import tokenizer_footprint
    from pipelines.train.tokenizer import train_tokenizer

    _warn(tokenizer_footprint(opened))

    summary = train_tokenizer(opened, restart=restart, progress=console.ConsoleProgress())
    _finish(opened, summary, as_json, _render_tokenizer)


@app.command(
    cls=settings_of("prior.*", "train.*", "compute.*"),
    epilog="Example: kaleido train prior --steps 2000",
)
def prior(
    context: typer.Context,
    preset: PresetOption = None,
    restart: RestartOption = False,
    yes: YesOption = False,
    dry_run: DryRunOption = False,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Train the prior p(z|c), which draws latents for a caption."""
    opened = open_workspace(context, workspace, under=_preset(preset))
    training_kinds(opened, opened.settings.prior.z_kinds)
    if dry_run:
        from pipelines.train.footprint import prior_footprint

        return _show_footprint(prior_footprint(opened), as_json)
    _begin(opened, "prior", restart, yes)
    from pipelines.train.footprint import prior_footprint
    from pipelines.train.prior import train_prior

    _warn(prior_footprint(opened, roughly=True))

    summary = train_prior(opened, restart=restart, progress=console.ConsoleProgress())
    _finish(opened, summary, as_json, lambda result: _render("prior", result))


@app.command(
    cls=settings_of("diffusion.*", "train.*", "compute.*"),
    epilog="Example: kaleido train diffusion --steps 2000 --batch-size 16",
)
def diffusion(
    context: typer.Context,
    baseline: Annotated[
        bool, typer.Option("--baseline", help="Train p(x|c): the same network without z.")
    ] = False,
    preset: PresetOption = None,
    restart: RestartOption = False,
    yes: YesOption = False,
    dry_run: DryRunOption = False,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Train the denoiser p(x|z,c), which draws pictures for a caption and latents."""
    name = "baseline" if baseline else "diffusion"
    opened = open_workspace(context, workspace, under=_preset(preset))
    known = read_metadata(opened.models("prior"), "prior", "Run `kaleido train prior` first.")
    training_kinds(opened, opened.settings.diffusion.z_kinds, known.get("z_kinds") or ())
    if dry_run:
        from pipelines.train.footprint import diffusion_footprint

        return _show_footprint(diffusion_footprint(opened, baseline), as_json)
    _begin(opened, name, restart, yes)
    from pipelines.sample.preview import draw_preview
    from pipelines.train.diffusion import train_diffusion
    from pipelines.train.footprint import diffusion_footprint

    _warn(diffusion_footprint(opened, baseline))

    summary = train_diffusion(
        opened,
        baseline=baseline,
        restart=restart,
        progress=console.ConsoleProgress(),
        preview=draw_preview if opened.settings.train.preview_every else None,
    )
    _finish(opened, summary, as_json, lambda result: _render(name, result))


@app.command(
    cls=settings_of("joint.*", "train.*", "compute.*"),
    epilog="Example: kaleido train joint --eta 0.5",
)
def joint(
    context: typer.Context,
    preset: PresetOption = None,
    restart: RestartOption = False,
    yes: Annotated[
        bool, typer.Option("--yes", "-y", help="Replace finished models without asking.")
    ] = False,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Train prior and denoiser together, with the gradients of both in the prior, as the paper."""
    opened = open_workspace(context, workspace, under=_preset(preset))
    training_kinds(opened, opened.settings.prior.z_kinds)
    begins = restart or not (opened.logs / "joint" / "checkpoint").exists()
    if not asked_by_launcher():
        for name in ("prior", "diffusion"):
            _confirm(opened, name, begins, yes)
    _launch(opened)
    from pipelines.train.joint import train_joint

    summary = train_joint(opened, restart=restart, progress=console.ConsoleProgress())
    _finish(opened, summary, as_json, lambda result: _render("joint", result))


def _preset(name: str | None) -> Mapping[str, Any]:
    return preset_settings(name) if name else {}


def _begin(workspace: Workspace, name: str, restart: bool, yes: bool) -> None:
    """Ask what is to be asked, and start the processes if there are to be several.

    Raises:
        Exit: With the status of the processes, which have trained.
    """
    if not asked_by_launcher():
        _confirm(workspace, name, restart, yes)
    _launch(workspace)


def _launch(workspace: Workspace) -> None:
    if workspace.settings.train.processes > 1 and not is_launched():
        raise typer.Exit(launch(sys.argv[1:], workspace.settings.train.processes))


def _warn(found: Footprint) -> None:
    """Say before a run starts that it does not fit into the memory."""
    if is_first_rank() and found.warning:
        console.say(f"Warning: {found.warning}")


def _finish(
    workspace: Workspace, summary: Any, as_json: bool, render: Callable[[Any], None]
) -> None:
    """Show what a training did, and what comes next."""
    if is_first_rank():
        console.show(summary, as_json, render)
        show_next_step(workspace, as_json)


def _confirm(workspace: Workspace, name: str, restart: bool, yes: bool) -> None:
    """Ask for confirmation before a finished model is replaced.

    Raises:
        KaleidoError: If the terminal is not interactive.
    """
    if not restart or yes or name not in own_models(workspace):
        return
    folder = workspace.models(name)
    if not sys.stdin.isatty():
        raise KaleidoError(
            str(folder),
            "it is a finished model, which this would replace.",
            "Add --yes, or rename the folder.",
            code="would-overwrite",
        )
    typer.confirm(f"{folder} is a finished model. Replace it?", abort=True, err=True)


def _render(name: str, summary: Any) -> None:
    seen = f"{name}: {summary.steps:,} steps, {summary.images_seen:,} records seen"
    if isnan(summary.loss):  # no step was left to take
        console.line(f"{seen}, finished already at step {summary.resumed_at:,}")
        return
    resumed = f", resumed at step {summary.resumed_at:,}" if summary.resumed_at else ""
    console.line(f"{seen}, loss {summary.loss:.4f}{resumed}")


def _show_footprint(found: Footprint, as_json: bool) -> None:
    if not as_json:
        return _render_footprint(found)
    more = {"memory_needed": found.memory_needed, "warning": found.warning}
    console.show({**asdict(found), **more}, as_json, _render_footprint)


def _render_footprint(found: Footprint) -> None:
    from pipelines.core.sizes import format_bytes

    console.line(f"{found.name}: {found.parameters:,} parameters, {found.trainable:,} trained")
    parts = ", ".join(f"{part} {format_bytes(size)}" for part, size in found.memory.items())
    free = f"; {format_bytes(found.memory_free)} free" if found.memory_free is not None else ""
    console.line(f"Memory on {found.device}: {format_bytes(found.memory_needed)}{free} ({parts})")
    console.line(f"Checkpoint: {format_bytes(found.checkpoint)}, twice while it is replaced")
    console.line(
        f"Steps: {found.steps:,} of {found.batch_size:,} records, {found.micro_batch:,} at a time; "
        f"{found.batches_per_epoch:,} "
        f"batches see all {found.records:,} records once"
    )
    if found.warning:
        console.say(found.warning)


def _render_tokenizer(summary: Any) -> None:
    _render("tokenizer", summary)
    objects = "" if summary.psnr_objects is None else f", {summary.psnr_objects:.1f} dB in objects"
    console.line(
        f"  on {summary.measured_on} pictures: PSNR {summary.psnr:.1f} dB{objects}; "
        f"{summary.codebook_used:.0%} of the codebook used, perplexity {summary.perplexity:.0f}"
    )

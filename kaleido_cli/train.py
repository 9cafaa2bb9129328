"""`kaleido train`."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import Annotated, Any

import typer

from kaleido_cli import console
from kaleido_cli.flags import settings_of
from kaleido_cli.options import JsonOption, WorkspaceOption, open_workspace
from kaleido_cli.training import (
    DryRunOption,
    RestartOption,
    YesOption,
    begin,
    confirm,
    finish,
    render,
    show_footprint,
    start_processes,
    warn,
)
from pipelines.models.metadata import read_metadata
from pipelines.train.launch import asked_by_launcher
from pipelines.workspace.inputs import require_data, training_kinds
from pipelines.workspace.presets import PRESETS, preset_settings

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    help="Train models and adapters. An unfinished run resumes where it stopped.",
    epilog="Example: kaleido train prior && kaleido train diffusion",
)

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
    """Train the visual tokenizer, which encodes pictures as grids of tokens, a kind for trials."""
    opened = open_workspace(context, workspace)
    require_data(opened)
    if dry_run:
        from pipelines.train.footprint import tokenizer_footprint

        return show_footprint(tokenizer_footprint(opened), as_json)
    begin(opened, "tokenizer", restart, yes)
    from pipelines.train.footprint import tokenizer_footprint
    from pipelines.train.tokenizer import train_tokenizer

    warn(tokenizer_footprint(opened))

    summary = train_tokenizer(opened, restart=restart, progress=console.ConsoleProgress())
    finish(opened, summary, as_json, _render_tokenizer)


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

        return show_footprint(prior_footprint(opened), as_json)
    begin(opened, "prior", restart, yes)
    from pipelines.sample.decode import draw_own
    from pipelines.train.footprint import prior_footprint
    from pipelines.train.prior import train_prior

    warn(prior_footprint(opened, roughly=True))

    progress = console.ConsoleProgress()
    summary = train_prior(opened, restart=restart, progress=progress, draw=draw_own)
    finish(opened, summary, as_json, lambda result: render("prior", result))


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
    known = {}
    if not dry_run:
        known = read_metadata(opened.models("prior"), "prior", "Run `kaleido train prior` first.")
    training_kinds(opened, opened.settings.diffusion.z_kinds, known.get("z_kinds") or ())
    if dry_run:
        from pipelines.train.footprint import diffusion_footprint

        return show_footprint(diffusion_footprint(opened, baseline), as_json)
    begin(opened, name, restart, yes)
    from pipelines.sample.preview import draw_preview
    from pipelines.train.diffusion import train_diffusion
    from pipelines.train.footprint import diffusion_footprint

    warn(diffusion_footprint(opened, baseline))

    summary = train_diffusion(
        opened,
        baseline=baseline,
        restart=restart,
        progress=console.ConsoleProgress(),
        preview=draw_preview if opened.settings.train.preview_every else None,
    )
    finish(opened, summary, as_json, lambda result: render(name, result))


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
            confirm(opened, name, begins, yes)
    start_processes(opened)
    from pipelines.train.joint import train_joint

    summary = train_joint(opened, restart=restart, progress=console.ConsoleProgress())
    finish(opened, summary, as_json, lambda result: render("joint", result))


@app.command(
    cls=settings_of("adapter.*", "base.dtype", "train.*", "compute.*"),
    epilog="Example: kaleido train adapter --base models/sdxl --steps 5000",
)
def adapter(
    context: typer.Context,
    restart: RestartOption = False,
    yes: YesOption = False,
    dry_run: DryRunOption = False,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Train an adapter, with which a text-to-image model of others draws from z."""
    opened = open_workspace(context, workspace)
    training_kinds(opened, opened.settings.adapter.z_kinds)
    if dry_run:
        from pipelines.train.adapter_footprint import adapter_footprint

        return show_footprint(adapter_footprint(opened), as_json)
    begin(opened, "adapter", restart, yes)
    from pipelines.train.adapter import train_adapter
    from pipelines.train.adapter_footprint import adapter_footprint

    warn(adapter_footprint(opened))

    summary = train_adapter(opened, restart=restart, progress=console.ConsoleProgress())
    base, folder = opened.settings.adapter.base, shlex.quote(str(opened.models("adapter")))
    draw = f'kaleido sample "A CAPTION" --base {shlex.quote(base)} --adapter {folder}'
    finish(opened, summary, as_json, lambda result: render("adapter", result), draw)


def _preset(name: str | None) -> Mapping[str, Any]:
    return preset_settings(name) if name else {}


def _render_tokenizer(summary: Any) -> None:
    render("tokenizer", summary)
    objects = "" if summary.psnr_objects is None else f", {summary.psnr_objects:.1f} dB in objects"
    console.line(
        f"  on {summary.measured_on} pictures: PSNR {summary.psnr:.1f} dB{objects}; "
        f"{summary.codebook_used:.0%} of the codebook used, perplexity {summary.perplexity:.0f}"
    )

"""`kaleido train`."""

from __future__ import annotations

from math import isnan
from typing import Annotated, Any

import typer

from kaleido_cli import console
from kaleido_cli.flags import settings_of
from kaleido_cli.options import JsonOption, WorkspaceOption, open_workspace

app = typer.Typer(
    add_completion=False,
    help="Train tokenizer, prior and denoiser. An unfinished run goes on where it stopped.",
    epilog="Example: kaleido train prior && kaleido train diffusion",
)

RestartOption = Annotated[
    bool, typer.Option("--restart", help="Begin again; forget an unfinished run.")
]


@app.command(
    cls=settings_of("tokenizer.*"),
    epilog="Example: kaleido train tokenizer --steps 2000 --batch-size 64",
)
def tokenizer(
    context: typer.Context,
    restart: RestartOption = False,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Train the visual tokenizer: a picture as a grid of tokens, and back."""
    from pipelines.train.tokenizer import train_tokenizer

    summary = train_tokenizer(
        open_workspace(context, workspace), restart=restart, progress=console.ConsoleProgress()
    )
    console.show(summary, as_json, _render_tokenizer)


@app.command(cls=settings_of("prior.*"), epilog="Example: kaleido train prior --steps 2000")
def prior(
    context: typer.Context,
    restart: RestartOption = False,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Train the prior p(z|c): from a caption to its latents."""
    from pipelines.train.prior import train_prior

    summary = train_prior(
        open_workspace(context, workspace), restart=restart, progress=console.ConsoleProgress()
    )
    console.show(summary, as_json, lambda result: _render("prior", result))


@app.command(
    cls=settings_of("diffusion.*"),
    epilog="Example: kaleido train diffusion --steps 2000 --batch-size 16",
)
def diffusion(
    context: typer.Context,
    baseline: Annotated[
        bool, typer.Option("--baseline", help="Train p(x|c): the same network without z.")
    ] = False,
    restart: RestartOption = False,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Train the denoiser p(x|z,c): from latents and a caption to the picture."""
    from pipelines.train.diffusion import train_diffusion

    summary = train_diffusion(
        open_workspace(context, workspace),
        baseline=baseline,
        restart=restart,
        progress=console.ConsoleProgress(),
    )
    name = "baseline" if baseline else "diffusion"
    console.show(summary, as_json, lambda result: _render(name, result))


def _render(name: str, summary: Any) -> None:
    seen = f"{name}: {summary.steps:,} steps, {summary.images_seen:,} records seen"
    if isnan(summary.loss):  # no step was left to take
        console.line(f"{seen}, finished already at step {summary.resumed_at:,}")
        return
    resumed = f", resumed at step {summary.resumed_at:,}" if summary.resumed_at else ""
    console.line(f"{seen}, loss {summary.loss:.4f}{resumed}")


def _render_tokenizer(summary: Any) -> None:
    _render("tokenizer", summary)
    objects = "" if summary.psnr_objects is None else f", {summary.psnr_objects:.1f} dB in objects"
    console.line(
        f"  on {summary.measured_on} pictures: PSNR {summary.psnr:.1f} dB{objects}; "
        f"{summary.codebook_used:.0%} of the codebook used, perplexity {summary.perplexity:.0f}"
    )

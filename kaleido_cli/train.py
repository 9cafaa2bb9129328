"""`kaleido train`."""

from __future__ import annotations

from math import isnan
from typing import Annotated, Any

import typer

from kaleido_cli import console
from kaleido_cli.options import (
    JsonOption,
    SeedOption,
    WorkspaceOption,
    ZOption,
    open_workspace,
    split_names,
)

app = typer.Typer(
    add_completion=False,
    help="Train tokenizer, prior and denoiser. An unfinished run goes on where it stopped.",
    epilog="Example: kaleido train prior && kaleido train diffusion",
)

StepsOption = Annotated[
    int | None,
    typer.Option(help="Training steps (default: the setting).", show_default=False),
]
BatchSizeOption = Annotated[
    int | None,
    typer.Option(help="Records in a batch (default: the setting).", show_default=False),
]
LearningRateOption = Annotated[
    float | None,
    typer.Option(help="Peak learning rate (default: the setting).", show_default=False),
]
RestartOption = Annotated[
    bool, typer.Option("--restart", help="Begin again; forget an unfinished run.")
]


DecoderStepsOption = Annotated[
    int | None,
    typer.Option(
        help="Further steps, in which the decoder learns alone (default: the setting).",
        show_default=False,
    ),
]


@app.command(epilog="Example: kaleido train tokenizer --steps 2000 --batch-size 64")
def tokenizer(
    steps: StepsOption = None,
    decoder_steps: DecoderStepsOption = None,
    batch_size: BatchSizeOption = None,
    learning_rate: LearningRateOption = None,
    seed: SeedOption = None,
    restart: RestartOption = False,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Train the visual tokenizer: a picture as a grid of tokens, and back."""
    from pipelines.train.tokenizer import train_tokenizer

    changes = _changes("tokenizer", steps, batch_size, learning_rate, seed)
    changes["tokenizer.decoder_steps"] = decoder_steps
    summary = train_tokenizer(
        open_workspace(workspace, changes), restart=restart, progress=console.ConsoleProgress()
    )
    console.show(summary, as_json, _render_tokenizer)


@app.command(epilog="Example: kaleido train prior --steps 2000")
def prior(
    steps: StepsOption = None,
    batch_size: BatchSizeOption = None,
    learning_rate: LearningRateOption = None,
    seed: SeedOption = None,
    z: ZOption = None,
    restart: RestartOption = False,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Train the prior p(z|c): from a caption to its latents."""
    from pipelines.train.prior import train_prior

    changes = _changes("prior", steps, batch_size, learning_rate, seed)
    changes["prior.z_kinds"] = split_names(z)
    summary = train_prior(
        open_workspace(workspace, changes), restart=restart, progress=console.ConsoleProgress()
    )
    console.show(summary, as_json, lambda result: _render("prior", result))


@app.command(epilog="Example: kaleido train diffusion --steps 2000 --batch-size 16")
def diffusion(
    steps: StepsOption = None,
    batch_size: BatchSizeOption = None,
    learning_rate: LearningRateOption = None,
    seed: SeedOption = None,
    z: ZOption = None,
    baseline: Annotated[
        bool, typer.Option("--baseline", help="Train p(x|c): the same network without z.")
    ] = False,
    restart: RestartOption = False,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Train the denoiser p(x|z,c): from latents and a caption to the picture."""
    from pipelines.train.diffusion import train_diffusion

    changes = _changes("diffusion", steps, batch_size, learning_rate, seed)
    changes["diffusion.z_kinds"] = split_names(z)
    summary = train_diffusion(
        open_workspace(workspace, changes),
        baseline=baseline,
        restart=restart,
        progress=console.ConsoleProgress(),
    )
    name = "baseline" if baseline else "diffusion"
    console.show(summary, as_json, lambda result: _render(name, result))


def _changes(
    section: str,
    steps: int | None,
    batch_size: int | None,
    learning_rate: float | None,
    seed: int | None,
) -> dict[str, Any]:
    return {
        f"{section}.steps": steps,
        f"{section}.batch_size": batch_size,
        f"{section}.learning_rate": learning_rate,
        f"{section}.seed": seed,
    }


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

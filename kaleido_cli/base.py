"""`kaleido base`."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from kaleido_cli import console
from kaleido_cli.options import JsonOption
from pipelines.core.sizes import format_bytes

app = typer.Typer(add_completion=False)


@app.command(epilog="Example: kaleido base stabilityai/stable-diffusion-xl-base-1.0")
def base(
    name: Annotated[
        str,
        typer.Argument(
            metavar="MODEL", help="The folder of a diffusers pipeline, or its name on the hub."
        ),
    ],
    size: Annotated[
        str,
        typer.Option(help="Width and height of pictures, such as 1024x768.", show_default=False),
    ] = "",
    as_json: JsonOption = False,
) -> None:
    """Show what a text-to-image model of others is, what z can do there, and what fits where.

    Only configurations are read, no weights; of a model on the hub nothing else is fetched.
    """
    from pipelines.bases.describe import describe

    console.show(describe(name, size), as_json, _render)


def _render(facts: Any) -> None:
    console.line(f"{facts.family} ({facts.pipeline}, {facts.scheduler})")
    usual = " is usual for this family; see the model's card" if facts.licence_is_usual else ""
    console.line(f"Licence: {facts.licence}{usual}")
    if facts.variant:
        console.line(f"Weights: the {facts.variant} variant; some networks have no others")
    if facts.distilled:
        console.line(f"Distilled: {facts.distilled}. It is drawn without guidance and not trained.")
    else:
        console.line("Distilled: nothing says so")
    form = "words" if facts.prompt == "words" else f"JSON ({facts.prompt})"
    console.line(f"z becomes its prompt in {form}; it reads {facts.text_limit:,} tokens")
    if facts.long_prompts:
        console.line(f"Prompts of more than 77 tokens: {facts.long_prompts}")
    console.line(
        f"Pictures: {facts.width} x {facts.height} pixels, usually with --cfg {facts.cfg:g} and "
        f"--steps {facts.steps}"
    )
    console.line("")
    rows = [(part.name, part.kind, f"{part.parameters:,}") for part in facts.parts]
    console.table(rows, ("network", "class", "parameters"))
    console.line(
        f"Beside the weights, one picture takes {format_bytes(facts.denoising)} while it is drawn, "
        f"{format_bytes(facts.decoding)} while it is decoded."
    )
    console.line("")
    ways = [(way.flags or "(none)", format_bytes(way.needs), way.note) for way in facts.ways]
    console.table(ways, ("flags", "GPU memory", ""))
    console.line("")
    cards = [
        (f"{card} GiB", "nothing fits" if flags is None else flags or "everything")
        for card, flags in facts.cards.items()
    ]
    console.table(cards, ("GPU", "fits with"))

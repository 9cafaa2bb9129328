"""`kaleido base`."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import asdict
from typing import Annotated, Any

import typer

from kaleido_cli import console
from kaleido_cli.options import JsonOption
from pipelines.core.errors import InputMissing
from pipelines.core.files import METADATA
from pipelines.core.sizes import format_bytes
from pipelines.workspace.workspace import Workspace

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
    adapter: Annotated[
        list[str] | None,
        typer.Option(
            metavar="FOLDER",
            help="Say whether this adapter fits; may be given several times. By default that of "
            "the workspace.",
            show_default=False,
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Show what a text-to-image model of others is, what z can do there, and what fits where.

    Only configurations are read, no weights; of a model on the hub nothing else is fetched.
    """
    from pipelines.bases.describe import describe
    from pipelines.train.adapter_footprint import adapter_outlook

    facts = describe(name, size, _own_adapter() if adapter is None else adapter)
    outlook = adapter_outlook(name, facts.height, facts.width)
    shown = asdict(facts) | {"adapter": asdict(outlook)}
    console.show(shown, as_json, lambda _: _render(facts, outlook))


def _own_adapter() -> list[str]:
    """Return the adapter of the workspace around the current folder, if there is one."""
    with suppress(InputMissing):
        folder = Workspace.find().models("adapter")
        return [str(folder)] if (folder / METADATA).is_file() else []
    return []


def _render(facts: Any, outlook: Any) -> None:
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
    console.line("")
    _render_adapter(facts, outlook)


def _render_adapter(facts: Any, outlook: Any) -> None:
    """Say whether an adapter can be trained, and which of those that are there fit."""
    if outlook.why_not:
        console.line(f"Adapter: none can be trained: {outlook.why_not}")
    else:
        console.line(
            f"Adapter: {outlook.parameters:,} parameters in {outlook.blocks} blocks; training it "
            f"takes {format_bytes(outlook.training)} of a GPU for a picture at a time, "
            f"{format_bytes(outlook.checkpointed)} with train.gradient_checkpointing = on"
        )
    for name, fit in facts.adapters.items():
        console.line(f"Adapter {name}: {'fits' if fit else 'is for another base'}")

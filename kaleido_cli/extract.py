"""`kaleido extract`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import wraps
from inspect import signature
from pathlib import Path
from typing import Annotated, Any

import typer

from kaleido_cli import console
from kaleido_cli.flags import changes_of, settings_of
from kaleido_cli.next_step import show_next_step
from kaleido_cli.options import (
    JsonOption,
    PartOption,
    WorkspaceOption,
    open_workspace,
    read_part,
    split_names,
)
from pipelines.core.errors import KaleidoError
from pipelines.core.progress import format_seconds

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    help="Compute latents from the images. Shards that are up to date are skipped.",
    epilog="Example: kaleido extract all --workers 2",
)

RetryOption = Annotated[
    bool,
    typer.Option(
        "--retry-failed", help="Compute failed records of finished shards again, and only those."
    ),
]
TrustOption = Annotated[
    bool,
    typer.Option(
        "--trust-weights",
        help="Load a .pt file even if it holds code of its own, which then runs. Only for files "
        "from people whom you would let type on this machine.",
    ),
]
DryRunOption = Annotated[
    bool,
    typer.Option(
        "--dry-run",
        help="Only tell which shards would be computed and why, and about how long it takes.",
    ),
]
VerifyOption = Annotated[
    bool,
    typer.Option(
        "--verify",
        help="Read all shards to find damage, also those of unchanged size and time.",
    ),
]
ColoursOption = Annotated[
    bool,
    typer.Option(
        "--colours", help="Also measure the main colours of each object, in the same pass."
    ),
]
PreviewOption = Annotated[
    int | None,
    typer.Option(
        min=1,
        metavar="N",
        help="Only draw what is found in N records at random into logs/preview.png.",
        show_default=False,
    ),
]


@dataclass(frozen=True)
class Extraction:
    """A command of `kaleido extract`.

    Attributes:
        kinds: Of latents.
        help: What it does.
        example: Its arguments in an example.
        settings: Which settings of ``extract`` it reads, beside those that all read.
        short: The prefix that its flags may leave out.
        loads_weights: Whether it may load a checkpoint that can hold code.
        finds_boxes: Whether it finds objects, whose colours can be measured in the same pass.
        asks_servers: Whether it may ask a server, and takes the settings of servers.
        reads: Settings of other sections that it reads.
        drawn: Whether what it computes can be drawn over a picture.
    """

    kinds: tuple[str, ...]
    help: str
    example: str
    settings: tuple[str, ...]
    short: str
    loads_weights: bool = False
    finds_boxes: bool = False
    asks_servers: bool = False
    reads: tuple[str, ...] = ()
    drawn: bool = True


COMMANDS = {
    "descriptions": Extraction(
        ("description",),
        "Describe each image by a vision-language model, or by its caption and a language model.",
        "descriptions --model Salesforce/blip-image-captioning-base",
        ("descriptions_*", "seed", "source"),
        "descriptions_",
        asks_servers=True,
    ),
    "boxes": Extraction(
        ("boxes",),
        "Find objects and their boxes.",
        "boxes --model PekingU/rtdetr_v2_r50vd",
        ("boxes_*", "source"),
        "boxes_",
        loads_weights=True,
        finds_boxes=True,
        asks_servers=True,
    ),
    "blobs": Extraction(
        ("blobs",),
        "Fit an ellipse to each object's mask.",
        "blobs --model ./sam2",
        ("blobs_*", "boxes_*", "source"),
        "blobs_",
        loads_weights=True,
    ),
    "colours": Extraction(
        ("colours",),
        "Measure the main colours of each object.",
        "colours --model PekingU/rtdetr_v2_r50vd",
        ("boxes_*", "source"),
        "boxes_",
        loads_weights=True,
    ),
    "palette": Extraction(
        ("palette",),
        "Cluster the colours of each image.",
        "palette",
        ("palette_*", "source"),
        "palette_",
    ),
    "tokens": Extraction(
        ("tokens",),
        "Write each image as ids of a visual tokenizer: for trials, they have not helped yet.",
        "tokens --model ./titok-l-32",
        ("tokens_*",),
        "tokens_",
    ),
    "image-latents": Extraction(
        ("image-latents",),
        "Encode each image by an autoencoder, for `kaleido train diffusion --space latents`.",
        "image-latents --autoencoder ./sdxl-vae --image-size 512 --patch-size 2",
        (),
        "",
        reads=("diffusion.autoencoder", "diffusion.image_size", "diffusion.aspect")
        + ("diffusion.patch_size", "diffusion.architecture"),
        drawn=False,
    ),
    "caption-states": Extraction(
        ("caption-states",),
        "Encode each caption by the prior's frozen encoder, so that training need not.",
        "caption-states --pretrained google/flan-t5-base",
        (),
        "",
        reads=("prior.pretrained", "prior.max_caption_tokens"),
        drawn=False,
    ),
    "base-states": Extraction(
        ("base-states",),
        "Encode each caption by the text encoders of a base, so that `kaleido train adapter` "
        "need not.",
        "base-states --base models/sdxl",
        (),
        "",
        reads=("adapter.base", "base.dtype"),
        drawn=False,
    ),
    "all": Extraction(
        ("boxes", "blobs", "palette"),
        "Compute boxes, blobs and palette in one pass; other kinds are asked for by name.",
        "all --workers 2",
        ("boxes_*", "blobs_*", "palette_*", "source"),
        "boxes_",
        loads_weights=True,
        finds_boxes=True,
        asks_servers=True,
    ),
}
"""Name -> the command. Those for plug-ins take the kinds as an argument: see `plugin`."""

COMMON = ("extract.workers", "extract.engine", "extract.address")
"""Settings that every command reads."""


def _run(
    context: typer.Context,
    colours: ColoursOption = False,
    trust_weights: TrustOption = False,
    retry_failed: RetryOption = False,
    dry_run: DryRunOption = False,
    part: PartOption = None,
    verify: VerifyOption = False,
    preview: PreviewOption = None,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    kinds = COMMANDS[str(context.command.name)].kinds + ("colours",) * colours
    request = Request(retry_failed, dry_run, part, verify, preview, trust_weights)
    _extract(context, kinds, request, workspace, as_json)


def _with_options_of(command: Extraction) -> Callable[..., None]:
    """Return `_run` without the options that the command lacks: Typer reads the signature."""

    @wraps(_run)
    def run(**options: Any) -> None:
        _run(**options)

    takes = {
        "colours": command.finds_boxes,
        "trust_weights": command.loads_weights,
        "preview": command.drawn,
    }
    whole = signature(_run, eval_str=True)
    kept = [option for name, option in whole.parameters.items() if takes.get(name, True)]
    run.__signature__ = whole.replace(parameters=kept)  # type: ignore[attr-defined]
    return run


for _name, _command in COMMANDS.items():
    app.command(
        _name,
        cls=settings_of(
            *(f"extract.{pattern}" for pattern in _command.settings),
            *COMMON,
            *["compute.device"] * (_name != "palette"),  # no network
            *["server.*"] * _command.asks_servers,
            *_command.reads,
            short=_command.short,
        ),
        help=_command.help,
        epilog=f"Example: kaleido extract {_command.example}",
    )(_with_options_of(_command))


@app.command(cls=settings_of(*COMMON), epilog="Example: kaleido extract plugin light --preview 8")
def plugin(
    context: typer.Context,
    kinds: Annotated[str, typer.Argument(metavar="KINDS", help="Kinds of latents, by commas.")],
    retry_failed: RetryOption = False,
    dry_run: DryRunOption = False,
    part: PartOption = None,
    verify: VerifyOption = False,
    preview: PreviewOption = None,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Compute latents of kinds that installed plug-ins bring."""
    from pipelines.extract.plugins import check_plugin_kinds

    asked = split_names(kinds) or ()
    check_plugin_kinds(asked)
    _extract(
        context, asked, Request(retry_failed, dry_run, part, verify, preview), workspace, as_json
    )


@dataclass(frozen=True)
class Request:
    """What to do with the kinds: compute them, plan, or preview some records."""

    retry_failed: bool
    dry_run: bool
    part: str | None
    verify: bool
    preview: int | None
    trust_weights: bool = False


def _extract(
    context: typer.Context,
    kinds: tuple[str, ...],
    request: Request,
    workspace: Path | None,
    as_json: bool,
) -> None:
    opened = open_workspace(context, workspace, _masks(changes_of(context)))
    from pipelines.extract.run import extract, plan

    if request.preview is not None:
        _refuse_with_preview(changes_of(context), request)
        from pipelines.extract.preview import preview

        progress = console.ConsoleProgress()
        shown = preview(opened, kinds, request.preview, request.trust_weights, progress)
        console.show(shown, as_json, _render_preview)
        return
    part = read_part(request.part)
    if request.dry_run:
        plans = plan(
            opened, kinds, request.retry_failed, request.trust_weights, part, request.verify
        )
        console.show({item.kind: item for item in plans}, as_json, _render_plans)
        return
    summaries = extract(
        opened,
        kinds,
        retry_failed=request.retry_failed,
        progress=console.ConsoleProgress(),
        trust_weights=request.trust_weights,
        part=part,
        verify=request.verify,
    )
    console.show({summary.kind: summary for summary in summaries}, as_json, _render)
    if empty := [summary.kind for summary in summaries if summary.shards and not summary.ok]:
        raise KaleidoError(
            f"latents {', '.join(empty)}",
            "no record has them.",
            "See why with `kaleido status --failed`.",
            code="nothing-produced",
        )
    show_next_step(opened, as_json)


def _masks(changes: Mapping[str, Any]) -> dict[str, str]:
    """Let a model named on the command line win over masks named in the settings."""
    if changes.get("extract.blobs_model") is None:
        return {}
    if changes.get("extract.blobs_masks"):
        raise KaleidoError(
            "--masks and --model",
            "your own masks need no model.",
            "Give one of the two.",
            code="bad-option",
        )
    return {"extract.blobs_masks": ""}


def _refuse_with_preview(changes: Mapping[str, Any], request: Request) -> None:
    given = {
        "--workers": "extract.workers" in changes,
        "--retry-failed": request.retry_failed,
        "--dry-run": request.dry_run,
        "--part": request.part is not None,
        "--verify": request.verify,
    }
    for flag, is_given in given.items():
        if is_given:
            raise KaleidoError(
                f"--preview and {flag}",
                "a preview reads a few records in this process and keeps nothing.",
                "Give one of the two.",
                code="bad-option",
            )


def _render(summaries: dict[str, object]) -> None:
    for kind, summary in summaries.items():
        console.show_counts(summary, kind)


def _render_plans(plans: dict[str, Any]) -> None:
    for kind, item in plans.items():
        console.line(
            f"{kind}: {item.pending:,} of {item.shards:,} shards to compute, "
            f"{item.records:,} records"
        )
        for reason, count in item.reasons.items():
            console.line(f"  {count:,} shards: {reason}")
        if item.pending and item.seconds is not None:
            seconds = format_seconds(item.seconds)
            console.line(f"  about {seconds} for all kinds of the pass, as in its last run")


def _render_preview(summary: Any) -> None:
    console.show_records(summary.records)
    for key, kind, reason in summary.problems:
        console.line(f"{key}: no {kind}: {reason}")
    if summary.sheet is not None:
        console.line(str(summary.sheet))

"""`kaleido extract`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from inspect import Signature, signature
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.filesize import decimal

from kaleido_cli import console
from kaleido_cli.options import JsonOption, WorkspaceOption, open_workspace, split_names
from pipelines.core.errors import KaleidoError
from pipelines.core.lines import format_seconds

Command = Callable[..., None]
Kinds = tuple[str, ...] | None


@dataclass(frozen=True)
class Chosen:
    """What a command's own options say.

    Attributes:
        kinds: Of latents; None for all that are ready.
        changes: Of settings.
        trust_weights: Whether a detector's checkpoint may run code as it is loaded.
    """

    kinds: Kinds
    changes: dict[str, Any] = field(default_factory=dict)
    trust_weights: bool = False


app = typer.Typer(
    add_completion=False,
    help="Compute latents from the images. Shards that are up to date are skipped.",
    epilog="Example: kaleido extract all --workers 2",
)

WorkersOption = Annotated[
    int | None,
    typer.Option(help="Local processes (default: extract.workers).", show_default=False),
]
DiskBudgetOption = Annotated[
    str | None,
    typer.Option(
        metavar="BYTES",
        help="Stop before the workspace's latents take more, 50GB say (default: "
        "extract.disk_budget).",
        show_default=False,
    ),
]
RetryOption = Annotated[
    bool,
    typer.Option(
        "--retry-failed", help="Compute failed records of finished shards again, and only those."
    ),
]
ModelOption = Annotated[
    str | None,
    typer.Option(
        help="A detector's folder, ultralytics' .pt file, or a name on the Hugging Face hub "
        "(default: the embedded one, which knows scenes).",
        show_default=False,
    ),
]
TrustOption = Annotated[
    bool,
    typer.Option(
        "--trust-weights",
        help="Load a .pt file even if it holds code of its own, which then runs. Only for files of "
        "people whom you would let type on this machine.",
    ),
]
FindOption = Annotated[
    str | None,
    typer.Option(
        help="What an open-vocabulary detector looks for, by commas (default: what the caption "
        "names).",
        show_default=False,
    ),
]
CaptionerOption = Annotated[
    str | None,
    typer.Option(
        "--model",
        help="A vision-language model, or a language model that knows the caption alone: its "
        "folder, its GGUF file, a plug-in's name, or its name on the Hugging Face hub.",
        show_default=False,
    ),
]
SegmenterOption = Annotated[
    str | None,
    typer.Option(
        "--model",
        help="A folder, .pt file or name on the Hugging Face hub of a model with masks, or a SAM, "
        "which is asked with the boxes (default: the one that finds boxes).",
        show_default=False,
    ),
]
MasksOption = Annotated[
    Path | None,
    typer.Option(
        help="A folder with your own masks: KEY.png, grey or indexed, whose values are instances.",
        show_default=False,
    ),
]
TokenizerOption = Annotated[
    str | None,
    typer.Option(
        "--model",
        help="A visual tokenizer's folder, or its name on the Hugging Face hub (default: the one "
        "that the workspace has trained).",
        show_default=False,
    ),
]
PromptOption = Annotated[
    Path | None,
    typer.Option(
        help="A text file with the question, {caption} where the caption belongs (default: asks "
        "for 50 to 80 words).",
        show_default=False,
    ),
]
TemperatureOption = Annotated[
    float | None,
    typer.Option(
        help="Draw the words, the more freely the larger it is, by extract.seed and each record's "
        "key (default: 0, the likeliest words).",
        show_default=False,
    ),
]
DryRunOption = Annotated[
    bool,
    typer.Option(
        "--dry-run",
        help="Only tell which shards would be computed and why, and about how long it takes.",
    ),
]
PreviewOption = Annotated[
    int | None,
    typer.Option(
        min=1,
        metavar="N",
        help="Only look: draw what it finds in N records at random into logs/preview.png.",
        show_default=False,
    ),
]


COMMANDS = {
    "descriptions": (
        ("description",),
        "Describe each image by a vision-language model, or by its caption and a language model.",
        "descriptions --model Salesforce/blip-image-captioning-base",
    ),
    "boxes": (
        ("boxes",),
        "Find objects and their boxes.",
        "boxes --model PekingU/rtdetr_v2_r50vd",
    ),
    "blobs": (("blobs",), "Fit an ellipse to each object's mask.", "blobs --model ./sam2"),
    "palette": (("palette",), "Cluster the colours of each image.", "palette"),
    "tokens": (
        ("tokens",),
        "Write each image as ids of a visual tokenizer.",
        "tokens --model ./titok-l-32",
    ),
    "all": (
        None,
        "Compute boxes, blobs and palette in one pass; other kinds are asked for by name.",
        "all --workers 2",
    ),
}
"""Command -> kinds of latents, what it does, and an example."""


def _plain(kinds: Kinds) -> Chosen:
    return Chosen(kinds)


def _detecting(
    kinds: Kinds,
    model: ModelOption = None,
    find: FindOption = None,
    trust_weights: TrustOption = False,
) -> Chosen:
    changes = {"extract.boxes_model": model, "extract.boxes_find": split_names(find)}
    return Chosen(kinds, changes, trust_weights)


def _segmenting(
    kinds: Kinds,
    model: SegmenterOption = None,
    masks: MasksOption = None,
    trust_weights: TrustOption = False,
) -> Chosen:
    if masks is not None and model is not None:
        raise KaleidoError(
            "--masks and --model", "no model is asked for masks that are there.", "Drop one."
        )
    # A model that is named here comes before masks that the settings name.
    unused = None if model is None else ""
    changes = {
        "extract.blobs_model": model,
        "extract.blobs_masks": unused if masks is None else str(masks.resolve()),
    }
    return Chosen(kinds, changes, trust_weights)


def _describing(
    kinds: Kinds,
    model: CaptionerOption = None,
    prompt: PromptOption = None,
    temperature: TemperatureOption = None,
) -> Chosen:
    changes = {
        "extract.descriptions_model": model,
        "extract.descriptions_prompt": None if prompt is None else str(prompt),
        "extract.descriptions_temperature": temperature,
    }
    return Chosen(kinds, changes)


def _tokenizing(kinds: Kinds, model: TokenizerOption = None) -> Chosen:
    return Chosen(kinds, {"extract.tokens_model": model})


def _plugin(
    kinds: Annotated[str, typer.Argument(metavar="KINDS", help="Kinds of latents, by commas.")],
) -> Chosen:
    """Which kinds there are is looked up when the command runs, not before."""
    from pipelines.extract.plugins import check_plugin_kinds

    asked = split_names(kinds) or ()
    check_plugin_kinds(asked)
    return Chosen(asked)


def _extract(
    chosen: Chosen,
    workers: WorkersOption = None,
    disk_budget: DiskBudgetOption = None,
    retry_failed: RetryOption = False,
    dry_run: DryRunOption = False,
    preview: PreviewOption = None,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    from pipelines.extract.run import READY, extract, plan

    changes = chosen.changes | {"extract.workers": workers, "extract.disk_budget": disk_budget}
    kinds, trusted = chosen.kinds or READY, chosen.trust_weights
    opened = open_workspace(workspace, changes)
    if preview is not None:
        flags = {
            "--workers": workers is not None,
            "--disk-budget": disk_budget is not None,
            "--retry-failed": retry_failed,
            "--dry-run": dry_run,
        }
        for flag, given in flags.items():
            if given:
                raise KaleidoError(
                    f"--preview and {flag}",
                    "a preview looks at a few records in this process and keeps nothing.",
                    "Give one of the two.",
                )
        from pipelines.extract.preview import preview as look

        console.show(look(opened, kinds, preview, trust_weights=trusted), as_json, _render_preview)
        return
    if dry_run:
        plans = plan(opened, kinds, retry_failed)
        console.show({item.kind: item for item in plans}, as_json, _render_plans)
        return
    summaries = extract(
        opened,
        kinds,
        retry_failed=retry_failed,
        progress=console.ConsoleProgress(),
        trust_weights=trusted,
    )
    console.show({summary.kind: summary for summary in summaries}, as_json, _render)


def _command(choose: Callable[..., Chosen]) -> Command:
    """Make a command of the options of `choose` and those of `_extract`, which all commands have.

    Args:
        choose: Kinds and its own options -> what they say.
    """
    own = [*signature(choose, eval_str=True).parameters.values()]
    common = [*signature(_extract, eval_str=True).parameters.values()][1:]

    def command(**given: Any) -> None:
        chosen = choose(**{option.name: given.pop(option.name) for option in own})
        _extract(chosen, **given)

    # What Typer reads the options from.
    command.__signature__ = Signature([*own, *common])  # type: ignore[attr-defined]
    return command


CHOICES: dict[str, Callable[..., Chosen]] = {
    "boxes": _detecting,
    "blobs": _segmenting,
    "all": _detecting,
    "descriptions": _describing,
    "tokens": _tokenizing,
}
"""Commands with options of their own; the others are `_plain`."""

for _name, (_kinds, _purpose, _example) in COMMANDS.items():
    _register = app.command(_name, help=_purpose, epilog=f"Example: kaleido extract {_example}")
    _register(_command(partial(CHOICES.get(_name, _plain), _kinds)))

app.command(
    "plugin",
    help="Compute latents of kinds that installed plug-ins bring.",
    epilog="Example: kaleido extract plugin light --preview 8",
)(_command(_plugin))


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
        if item.pending:
            console.line(f"  {_estimate(item)}")
    left = next(iter(plans.values())).disk_left
    if left is not None:
        from pipelines.engines.budget import foresee

        console.line(foresee(left, [item.growth for item in plans.values()]))


def _estimate(item: Any) -> str:
    parts = []
    if item.seconds is not None:
        parts.append(
            f"{format_seconds(item.seconds)} for all kinds of the pass, as in its last run"
        )
    if item.memory is not None:
        parts.append(f"{decimal(item.memory)} of memory")
    if item.disk is not None:
        parts.append(f"{decimal(item.disk)} on disk")
    return f"about {', '.join(parts)}" if parts else "time and disk: not known before a first run"


def _render_preview(summary: Any) -> None:
    console.show_records(summary.records)
    for key, kind, reason in summary.problems:
        console.line(f"{key}: no {kind}: {reason}")
    if summary.sheet is not None:
        console.line(str(summary.sheet))

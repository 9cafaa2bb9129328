"""Previews: latents of a few records, drawn before the long run over all of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pipelines.core.batches import in_batches
from pipelines.core.files import atomic_write
from pipelines.core.images import encode_png
from pipelines.core.progress import SILENT, Progress
from pipelines.core.record import Record
from pipelines.core.stage import Failed, Filtered, Ok, Outcome, StageGroup, kinds_of, set_up
from pipelines.data.show import ShownRecord, choose_records, describe, read_chosen, sheet_of
from pipelines.engines.batches import call_stage, unfit
from pipelines.extract.context import StageContext
from pipelines.extract.stages import build_stages, show_notices
from pipelines.workspace.workspace import Workspace


@dataclass(frozen=True)
class PreviewSummary:
    """Results of the stages on the records.

    Attributes:
        sheet: The picture that was written; None if no record can be shown.
        records: In its order, with the latents as text.
        problems: (key, kind, reason) where a stage found nothing or failed.
    """

    sheet: Path | None
    records: Sequence[ShownRecord]
    problems: Sequence[tuple[str, str, str]]


def preview(
    workspace: Workspace,
    kinds: Sequence[str],
    count: int,
    trust_weights: bool = False,
    progress: Progress = SILENT,
) -> PreviewSummary:
    """Compute latents of a few records, and draw them into ``logs/preview.png``.

    Nothing is written into ``latents/``.

    Args:
        workspace: With data.
        kinds: Kinds of latents.
        count: Records, drawn at random by ``data.seed``.
        trust_weights: Load a detector's checkpoint even if that may run code.
        progress: Told what the stages have to say.

    Raises:
        InputMissing: If the data, or a model that a kind needs, are missing.
        KaleidoError: If a kind is unknown.
    """
    stages = build_stages(kinds, StageContext(workspace, trust_weights))
    show_notices(stages, progress)
    made = kinds_of(stages)
    needed = [kind for stage in stages for kind in stage.specs[0].inputs if kind not in made]
    records = list(read_chosen(workspace, choose_records(workspace, count), needed))
    problems: list[tuple[str, str, str]] = []
    for stage in stages:
        set_up(stage)
        for kind, outcomes in _run(stage, records).items():
            pairs = list(zip(records, outcomes, strict=True))
            problems += [(record.key, kind, why) for record, each in pairs if (why := _why(each))]
            records = [_with(record, kind, outcome) for record, outcome in pairs]
    shown = [record for record in records if unfit(record, ()) is None]
    sheet = workspace.logs / "preview.png" if shown else None
    if sheet is not None:
        atomic_write(sheet, encode_png(sheet_of(shown, list(kinds))))
    return PreviewSummary(sheet, [describe(record) for record in shown], problems)


def _run(stage: StageGroup, records: Sequence[Record]) -> dict[str, list[Outcome]]:
    """Call a stage as an engine does: in batches, and not on records that it cannot use."""
    spec, kinds = stage.specs[0], kinds_of([stage])
    known = {record.key: unfit(record, spec.inputs) for record in records}
    usable = [record for record in records if known[record.key] is None]
    found: dict[tuple[str, str], Outcome] = {}
    for batch in in_batches(usable, spec.batch_size):
        for kind, outcomes in call_stage(stage, batch, kinds).items():
            found |= {(kind, each.key): out for each, out in zip(batch, outcomes, strict=True)}
    return {
        kind: [known[record.key] or found[kind, record.key] for record in records] for kind in kinds
    }


def _why(outcome: Outcome) -> str:
    match outcome:
        case Filtered(reason):
            return reason
        case Failed(error):
            return error
    return ""


def _with(record: Record, kind: str, outcome: Outcome) -> Record:
    if not isinstance(outcome, Ok):
        return record
    return replace(record, latents={**record.latents, kind: outcome.value})

"""Calling a stage on batches, so that one bad record costs one record."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice

from pipelines.core.errors import BadRecord, KaleidoError
from pipelines.core.record import Record
from pipelines.core.stage import Failed, Filtered, Ok, Outcome, Stage, StageSpec


def run_batches(stage: Stage, records: Iterable[Record]) -> Iterator[list[tuple[Record, Outcome]]]:
    """Run a stage over the records of one shard.

    A record that lacks an input kind is filtered and one whose image cannot be decoded has failed,
    before the stage sees them. Where the stage raises, its batch is tried again record by record.

    Yields:
        Lists of at most ``stage.spec.batch_size`` records with their outcomes, in order.

    Raises:
        KaleidoError: If the stage returns a wrong number of outcomes or a wrong type.
    """
    iterator = iter(records)
    while batch := list(islice(iterator, stage.spec.batch_size)):
        yield list(zip(batch, _run(stage, batch), strict=True))


def _run(stage: Stage, batch: Sequence[Record]) -> list[Outcome]:
    unfit = [_unfit(stage.spec, record) for record in batch]
    fit = [record for record, outcome in zip(batch, unfit, strict=True) if outcome is None]
    results = iter(_call(stage, fit) if fit else [])
    return [next(results) if outcome is None else outcome for outcome in unfit]


def _unfit(spec: StageSpec, record: Record) -> Outcome | None:
    missing = [kind for kind in spec.inputs if kind not in record.latents]
    if missing:
        return Filtered(f"no {', '.join(missing)}")
    try:
        record.pixels  # noqa: B018  decoded here once; the record keeps them
    except BadRecord as error:
        return Failed(describe(error))
    return None


def _call(stage: Stage, records: Sequence[Record]) -> list[Outcome]:
    try:
        outcomes = stage(records)
    except Exception as error:
        if len(records) == 1:
            return [Failed(describe(error))]
        return [outcome for record in records for outcome in _call(stage, [record])]
    name = f"stage {stage.spec.name!r}"
    if len(outcomes) != len(records):
        why = f"it returned {len(outcomes)} outcomes for {len(records)} records."
        raise KaleidoError(name, why, "This is a defect of the stage.")
    for outcome in outcomes:
        if not isinstance(outcome, Ok | Filtered | Failed):
            why = f"it returned a {type(outcome).__name__} in place of an outcome."
            raise KaleidoError(name, why, "This is a defect of the stage.")
    return outcomes


def describe(error: Exception) -> str:
    """Return the reason that is recorded for a record whose processing raised `error`."""
    if isinstance(error, KaleidoError):
        return error.why
    return f"{type(error).__name__}: {error}"

"""Calling a stage on batches, so that one bad record costs one record."""

from __future__ import annotations

from collections.abc import Sequence

from pipelines.core.errors import BadRecord, KaleidoError
from pipelines.core.record import Record
from pipelines.core.stage import Failed, Filtered, Ok, Outcome, Stage
from pipelines.latents.text import LatentError

ROW_ERRORS = (BadRecord, LatentError, ValueError, ArithmeticError, LookupError)
"""What a record's own values may make a stage raise: the record has failed, the run goes on.

Any other error (no memory, a library that is missing or breaks) says nothing of the record, and as
a failed row it would look as if it did: it ends the run.
"""


def unfit(record: Record, inputs: Sequence[str]) -> Outcome | None:
    """Return the outcome of a record that no stage with these inputs need see, else None.

    A record that lacks an input kind is filtered; one whose image cannot be decoded has failed.
    """
    missing = [kind for kind in inputs if kind not in record.latents]
    if missing:
        return Filtered(f"no {', '.join(missing)}")
    try:
        record.pixels  # noqa: B018  decoded here once; the record keeps them
    except BadRecord as error:
        return Failed(describe(error))
    return None


def call_stage(stage: Stage, records: Sequence[Record]) -> list[Outcome]:
    """Call a stage on a batch; where it raises one of `ROW_ERRORS`, again record by record.

    Raises:
        KaleidoError: If the stage returns a wrong number of outcomes or a wrong type, or raises an
            error that does not concern a record.
    """
    if not records:
        return []
    try:
        outcomes = stage(records)
    except ROW_ERRORS as error:
        if len(records) == 1:
            return [Failed(describe(error))]
        return [outcome for record in records for outcome in call_stage(stage, [record])]
    except KaleidoError:
        raise
    except Exception as error:
        raise KaleidoError(
            f"stage {stage.spec.name!r}",
            f"it stopped between the records {records[0].key} and {records[-1].key} "
            f"({describe(error)}).",
            "No record is at fault, so none is marked. Run again once the cause is mended (for "
            "want of memory: with fewer workers); finished shards are kept.",
        ) from error
    _check(stage, records, outcomes)
    return outcomes


def _check(stage: Stage, records: Sequence[Record], outcomes: Sequence[Outcome]) -> None:
    name = f"stage {stage.spec.name!r}"
    if len(outcomes) != len(records):
        why = f"it returned {len(outcomes)} outcomes for {len(records)} records."
        raise KaleidoError(name, why, "This is a defect of the stage.")
    for outcome in outcomes:
        if not isinstance(outcome, Ok | Filtered | Failed):
            why = f"it returned a {type(outcome).__name__} in place of an outcome."
            raise KaleidoError(name, why, "This is a defect of the stage.")


def describe(error: Exception) -> str:
    """Return the reason that is recorded for a record whose processing raised `error`."""
    if isinstance(error, KaleidoError):
        return error.why
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__

"""Calling a stage on batches, so that one bad record costs one record."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pipelines.core.errors import BadRecord, KaleidoError
from pipelines.core.memory import is_out_of_memory, out_of_memory
from pipelines.core.record import Record
from pipelines.core.stage import Failed, Filtered, Ok, Outcome, StageGroup
from pipelines.latents.text import LatentError

ROW_ERRORS = (BadRecord, LatentError, ValueError, ArithmeticError, LookupError)
"""Errors that a record's own values may cause: the record has failed and the run goes on.

Any other error (no memory, a library that is missing or breaks) is not a property of the record. As
a failed row it would look like one, so it ends the run.
"""

MEMORY_HINT = "Run again with fewer --workers; finished shards are kept."


def unfit(record: Record, inputs: Sequence[str]) -> Outcome | None:
    """Return the outcome of a record that no stage with these inputs can use, else None.

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


def call_stage(
    stage: StageGroup, records: Sequence[Record], kinds: Sequence[str]
) -> dict[str, list[Outcome]]:
    """Call a stage on a batch; if it raises one of `ROW_ERRORS`, again for each record and kind.

    Returns:
        For each kind one outcome per record.

    Raises:
        KaleidoError: If the stage returns a wrong number of outcomes or a wrong type, or raises an
            error that does not concern a record.
    """
    if not records:
        return {kind: [] for kind in kinds}
    try:
        outcomes = stage.compute(records, kinds)
    except ROW_ERRORS as error:
        if len(records) == len(kinds) == 1:
            return {kinds[0]: [Failed(describe(error))]}
        return {
            kind: [call_stage(stage, [record], [kind])[kind][0] for record in records]
            for kind in kinds
        }
    except KaleidoError:
        raise
    except Exception as error:
        if is_out_of_memory(error):
            raise out_of_memory(_name(stage), MEMORY_HINT) from error
        raise KaleidoError(
            _name(stage),
            f"it stopped between the records {records[0].key} and {records[-1].key} "
            f"({describe(error)}).",
            "No record is at fault, so none is recorded as failed. Run again once the cause is "
            "fixed; finished shards are kept.",
        ) from error
    return {kind: _checked(stage, records, kind, outcomes) for kind in kinds}


def _checked(
    stage: StageGroup, records: Sequence[Record], kind: str, found: Mapping[str, Sequence[Outcome]]
) -> list[Outcome]:
    outcomes = list(found.get(kind, ()))
    if len(outcomes) != len(records):
        raise broken_contract(stage, f"it returned {len(outcomes)} outcomes, not {len(records)}.")
    for outcome in outcomes:
        if not isinstance(outcome, Ok | Filtered | Failed):
            raise broken_contract(stage, f"it returned a {type(outcome).__name__}, not an outcome.")
    return outcomes


def broken_contract(stage: StageGroup, why: str) -> KaleidoError:
    """Return the error of a stage whose results are not what `StageGroup.compute` promises."""
    return KaleidoError(_name(stage), why, "This is a defect of the stage.", code="plugin")


def _name(stage: StageGroup) -> str:
    return "stage " + " and ".join(repr(spec.name) for spec in stage.specs)


def describe(error: Exception) -> str:
    """Return the reason that is recorded for a record whose processing raised `error`."""
    if isinstance(error, KaleidoError):
        return error.why
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__

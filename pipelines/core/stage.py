"""Stage: a pure function over records that computes one kind of latent."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pipelines.core.errors import KaleidoError
from pipelines.core.record import Record


@dataclass(frozen=True, slots=True)
class Ok:
    """The stage produced a value for this record."""

    value: Any


@dataclass(frozen=True, slots=True)
class Filtered:
    """The record is sound, but the stage has nothing to say about it (no object found, say)."""

    reason: str


@dataclass(frozen=True, slots=True)
class Failed:
    """The record could not be processed."""

    error: str


Outcome = Ok | Filtered | Failed


@dataclass(frozen=True)
class StageSpec:
    """What a stage needs and gives, known before any work starts.

    Attributes:
        name: The stage's name in fingerprints and logs.
        version: Raised whenever the stage's output changes for equal input.
        output: The kind of latent that it produces.
        inputs: Kinds of latents that must exist in the workspace first.
        batch_size: Records per call, at most. A batch never crosses a shard.
        options: Everything else that the output depends on (thresholds, weights' sha256), as JSON
            values.
        resources: What a worker needs: ``{"threads": 1, "gpus": 0}``.
    """

    name: str
    version: int
    output: str
    inputs: tuple[str, ...] = ()
    batch_size: int = 32
    options: Mapping[str, Any] = field(default_factory=dict)
    resources: Mapping[str, int] = field(default_factory=lambda: {"threads": 1, "gpus": 0})


class Stage(ABC):
    """One step of extraction. It opens no files of the workspace and keeps no global state."""

    spec: StageSpec

    def setup(self) -> None:  # noqa: B027 - a stage without weights has nothing to load
        """Load weights. Called once in each worker, before the first batch."""

    @abstractmethod
    def __call__(self, records: Sequence[Record]) -> list[Outcome]:
        """Compute the latent of each record.

        Args:
            records: At most ``spec.batch_size`` records; images are decodable.

        Returns:
            One outcome a record, in the same order.

        Raises:
            BadRecord: Or another error of `pipelines.engines.batches.ROW_ERRORS`, if a record
                cannot be processed: the engine calls again record by record.
            Exception: If no record is at fault; it ends the run.
        """


def set_up(stage: Stage) -> None:
    """Call a stage's `setup`.

    Raises:
        KaleidoError: If it fails, whatever a library raised.
    """
    try:
        stage.setup()
    except KaleidoError:
        raise
    except Exception as error:
        raise KaleidoError(
            f"extract {stage.spec.output}",
            f"{stage.spec.name} could not be set up ({type(error).__name__}: {error}).",
            "`kaleido doctor` checks the installation.",
        ) from error

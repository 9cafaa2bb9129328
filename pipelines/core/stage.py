"""Stages: pure functions over records that compute latents."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pipelines.core.errors import KaleidoError
from pipelines.core.memory import is_out_of_memory, out_of_memory
from pipelines.core.record import Record


@dataclass(frozen=True, slots=True)
class Ok:
    """The stage produced a value for this record."""

    value: Any


@dataclass(frozen=True, slots=True)
class Filtered:
    """The record is valid, but the stage found nothing in it (no object, for example)."""

    reason: str


@dataclass(frozen=True, slots=True)
class Failed:
    """The record could not be processed."""

    error: str


Outcome = Ok | Filtered | Failed

NETWORK = {"threads": 1, "gpus": 1}
"""`StageSpec.resources` of a stage that runs a neural network."""


@dataclass(frozen=True)
class StageSpec:
    """How one kind of latent is computed, known before any work starts.

    Attributes:
        name: The stage's name in fingerprints and logs.
        version: Raised whenever the stage's output changes for equal input.
        output: The kind of latent that it produces.
        inputs: Kinds of latents that must exist in the workspace first.
        batch_size: Most records per call. A batch never crosses a shard.
        options: Everything else that the output depends on (thresholds, SHA-256 of the weights), as
            JSON values.
        resources: What a worker needs: ``threads`` of a CPU, and how many ``gpus`` it uses where
            the machine has any.
    """

    name: str
    version: int
    output: str
    inputs: tuple[str, ...] = ()
    batch_size: int = 32
    options: Mapping[str, Any] = field(default_factory=dict)
    resources: Mapping[str, int] = field(default_factory=lambda: {"threads": 1, "gpus": 0})


class StageGroup(ABC):
    """One step of extraction that computes one or several kinds of latents from a single pass.

    It opens no files of the workspace and keeps no state between batches.

    Attributes:
        specs: One for each kind. All have the same inputs, batch size and resources.
    """

    specs: Sequence[StageSpec]

    notice: str = ""
    """What the user must know before it begins, for example where data are sent."""

    def note(self) -> str:
        """Say how it fares beside the number of records, for example what was spent so far."""
        return ""

    def setup(self) -> None:  # noqa: B027 - a stage without weights has nothing to load
        """Load weights. Called once in each worker, before the first batch."""

    @abstractmethod
    def compute(
        self, records: Sequence[Record], kinds: Collection[str]
    ) -> Mapping[str, Sequence[Outcome]]:
        """Compute latents of each record.

        Args:
            records: At most ``batch_size`` records; their images are decodable.
            kinds: The kinds that are wanted, at least one.

        Returns:
            For each of `kinds` one outcome per record, in the same order.

        Raises:
            BadRecord: Or another error of `pipelines.engines.batches.ROW_ERRORS`, if a record
                cannot be processed: the engine calls again record by record, kind by kind.
            Exception: If no record is at fault; it ends the run.
        """


class Stage(StageGroup):
    """A stage of a single kind; subclasses have a `spec` and implement `__call__`."""

    spec: StageSpec

    @property
    def specs(self) -> Sequence[StageSpec]:  # type: ignore[override]
        """The only spec."""
        return (self.spec,)

    def compute(
        self, records: Sequence[Record], kinds: Collection[str]
    ) -> Mapping[str, Sequence[Outcome]]:
        """Compute the stage's only kind, see `StageGroup.compute`."""
        return {self.spec.output: self(records)}

    @abstractmethod
    def __call__(self, records: Sequence[Record]) -> list[Outcome]:
        """Compute the latent of each record.

        Args:
            records: At most ``spec.batch_size`` records; their images are decodable.

        Returns:
            One outcome per record, in the same order.

        Raises:
            Exception: As `StageGroup.compute`.
        """


def kinds_of(stages: Sequence[StageGroup]) -> list[str]:
    """Return the kinds of latents that stages compute, in their order."""
    return [spec.output for stage in stages for spec in stage.specs]


def set_up(stage: StageGroup) -> None:
    """Call a stage's `setup`.

    Raises:
        KaleidoError: If it fails, whatever a library raised.
    """
    try:
        stage.setup()
    except KaleidoError:
        raise
    except Exception as error:
        names = " and ".join(spec.name for spec in stage.specs)
        what = f"extract {', '.join(kinds_of([stage]))}"
        if is_out_of_memory(error):
            raise out_of_memory(what, "Use a smaller model, or fewer --workers.") from error
        raise KaleidoError(
            what,
            f"{names} could not be set up ({type(error).__name__}: {error}).",
            "`kaleido doctor` checks the installation.",
            code="not-installed" if isinstance(error, ImportError) else "error",
        ) from error

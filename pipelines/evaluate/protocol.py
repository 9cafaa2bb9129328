"""How an evaluation measures: the feature space, the captions, and the real pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from pipelines.core.progress import Progress
from pipelines.evaluate.adherence.truth import TrueZ
from pipelines.evaluate.metrics.memorization import TrainingPictures
from pipelines.evaluate.metrics.statistics import Estimate
from pipelines.evaluate.observations import Verdict
from pipelines.evaluate.observe import Observed, PictureSource
from pipelines.models.shapes import Shape
from pipelines.sample.bundle import Bundle
from pipelines.sample.engine import Loadable
from pipelines.workspace.workspace import Workspace


@dataclass(frozen=True)
class ProtocolNotes:
    """What the report tells about a protocol, and which of its metrics it shows where.

    Attributes:
        reference: Where the real pictures come from.
        features: What the feature space is.
        not_judged: What the protocol cannot see; empty if there is nothing to tell.
        warnings: Reasons to trust the numbers less; shown at the top.
        ceiling: The judge's accuracy on real pictures, by name; empty without a judge.
        parity_unknown: Why these real pictures cannot tell whether the models are equally trained;
            empty if they can.
        parity_entropies: Metrics that both models must bring to the level of real pictures at
            CFG 1; each is compared with ``METRIC.real``.
        headlines: Metrics of the protocol's own whose change under guidance is shown.
        curves: Metrics of the protocol's own that are drawn over the guidance scale.
        titles: Metric -> title and explanation, for metrics that only this protocol has, and
            ``ceiling.NAME`` for each accuracy of the judge.
    """

    reference: str
    features: str
    not_judged: str = ""
    warnings: Sequence[str] = ()
    ceiling: Mapping[str, float] = field(default_factory=dict)
    parity_unknown: str = ""
    parity_entropies: Sequence[str] = ()
    headlines: Sequence[str] = ()
    curves: Sequence[str] = ()
    titles: Mapping[str, tuple[str, str]] = field(default_factory=dict)


class EvaluationProtocol(Protocol):
    """One way to measure.

    Attributes:
        name: Name of the feature space; every metric's full name contains it.
        captions: The captions that are drawn.
        groups: For each caption, the name of its group. Captions of one group, such as wordings of
            the same content, are not independent: intervals resample whole groups.
        metadata: JSON values that decide what is seen in a picture, and which pictures are real.
        real_seeds: How many seeds give different real pictures; None for all.
        training: Pictures that the models were trained on.
        truth: Writes the z of real pictures.
        notes: For the report.
        elsewhere: Loads `inspect` on another machine.
    """

    name: str
    captions: tuple[str, ...]
    groups: tuple[str, ...]
    metadata: Any
    real_seeds: int | None
    training: TrainingPictures
    truth: TrueZ
    notes: ProtocolNotes
    elsewhere: Loadable

    def real(self, n: int, shape: Shape) -> dict[str, PictureSource]:
        """Real pictures of a height and width.

        Returns:
            ``reference`` and, if there are enough pictures, ``data``: a second set, measured as a
            model's pictures are.
        """
        ...

    def inspect(
        self, images: np.ndarray, texts: Sequence[str] = ()
    ) -> tuple[np.ndarray, list[Verdict]]:
        """Compute features of pictures, and judge them if the protocol has a judge.

        Args:
            images: uint8 (n, height, width, 3).
            texts: The z of each picture.

        Returns:
            Features, float32 (n, d), and verdicts; none without a judge.
        """
        ...

    def measure(self, seen: Observed, reference: Observed) -> dict[str, Estimate]:
        """Measure pictures of the captions against real ones that are new to the models."""
        ...

    def measure_real(self, data: Observed | None, reference: Observed) -> dict[str, Estimate]:
        """Measure real pictures: the score of a model that draws as the data are distributed."""
        ...


@dataclass(frozen=True)
class Compared:
    """What a protocol is opened for.

    Attributes:
        workspace: Holds the settings and the data.
        bundles: The models by name, all of one image size.
        truth: Writes the z of real pictures.
        progress: Listener.
    """

    workspace: Workspace
    bundles: Mapping[str, Bundle]
    truth: TrueZ
    progress: Progress

    @property
    def embedded(self) -> bool:
        """Whether the models are those that Kaleido ships."""
        return next(iter(self.bundles.values())).source == "embedded"


class ProtocolChoice(Protocol):
    """A protocol that is not opened yet, as the caller of an evaluation hands it in."""

    def check(self, workspace: Workspace) -> None:
        """Refuse settings and data that cannot be evaluated, before any model is loaded.

        Raises:
            KaleidoError: With the reason.
        """
        ...

    def open(self, compared: Compared) -> EvaluationProtocol:
        """Load what the protocol measures with.

        Raises:
            InputMissing: If there are no captions or no judge.
            KaleidoError: If there are too few real pictures, or the models do not fit.
        """
        ...

"""Yardsticks: what pictures are measured in, and the real ones that they are measured against."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from pipelines.evaluate.adherence.truth import TrueZ
from pipelines.evaluate.metrics.memorization import TrainingPictures
from pipelines.evaluate.metrics.statistics import Estimate
from pipelines.evaluate.observe import Observed, Source
from pipelines.scenes.judge import Verdict


@dataclass(frozen=True)
class Description:
    """What the report says of a yardstick.

    Attributes:
        reference: Where the real pictures come from.
        features: What the feature space is.
        not_judged: What it cannot see; empty if nothing is to be said.
        warnings: What lessens the worth of the numbers; shown at the top.
        ceiling: The judge's accuracy on held-out renders, by name; empty without a judge.
        parity_unknown: Why these real pictures cannot tell whether models are equally trained;
            empty if they can.
    """

    reference: str
    features: str
    not_judged: str = ""
    warnings: Sequence[str] = ()
    ceiling: Mapping[str, float] = field(default_factory=dict)
    parity_unknown: str = ""


class EvaluationProtocol(Protocol):
    """One way to measure.

    Attributes:
        name: Of the feature space; it stands in every metric's name.
        captions: What is drawn.
        facts: JSON values that decide what is seen in a picture, and which pictures are real.
        real_seeds: How many seeds give different real pictures; None for all.
        training: Pictures that the models were trained on.
        truth: Writes the z of real pictures.
        description: For the report.
    """

    name: str
    captions: tuple[str, ...]
    facts: Any
    real_seeds: int | None
    training: TrainingPictures
    truth: TrueZ
    description: Description

    def real(self, n: int, side: int) -> dict[str, Source]:
        """Real pictures of `side` pixels.

        Returns:
            ``reference``, and, where there are enough, ``data``: a second set to be measured as a
            model is.
        """
        ...

    def look(self, images: np.ndarray) -> tuple[np.ndarray, list[Verdict]]:
        """See pictures, uint8 (n, height, width, 3).

        Returns:
            Features, float32 (n, d), and a judge's verdicts; without a judge there are none.
        """
        ...

    def measure(self, seen: Observed, reference: Observed) -> dict[str, Estimate]:
        """Measure pictures of the captions against real ones that are new to the models."""
        ...

    def measure_real(self, data: Observed | None, reference: Observed) -> dict[str, Estimate]:
        """Measure real pictures: what a model that drew as the data are would score."""
        ...

"""What the stages that need a detector share: the detector itself and the order of its finds."""

from __future__ import annotations

import re
from abc import abstractmethod
from collections.abc import Sequence
from typing import ClassVar

from pipelines.core.errors import KaleidoError
from pipelines.core.record import Record
from pipelines.core.stage import Filtered, Outcome, Stage, StageSpec
from pipelines.extract.detectors.base import Detections, DetectorBackend, DetectorModel

NOTHING = Filtered("no object found")


class Detector:
    """A detector that several stages share; it looks at a batch once, whoever asks.

    Args:
        model: Which one.
        confidence: Detections below this score are dropped, from 0 to 1.
        max_objects: The most confident ones are kept.

    Attributes:
        model: Which one.
        options: Everything that its finds depend on, as JSON values.
    """

    def __init__(self, model: DetectorModel, confidence: float, max_objects: int) -> None:
        self.model, self._confidence, self._max_objects = model, confidence, max_objects
        self._backend: DetectorBackend | None = None
        self._last: tuple[list[Record], list[Detections]] = ([], [])
        self.options = {
            "weights": model.identity,
            "confidence": confidence,
            "max_objects": max_objects,
        } | ({"prompts": list(model.prompts)} if model.prompts else {})

    def setup(self) -> None:
        """Load the weights, once."""
        if self._backend is None:
            self._backend = self.model.load(self._confidence, self._max_objects)

    def find(self, records: Sequence[Record]) -> list[Detections]:
        """Find each record's objects, in the order of `in_order`.

        The finds of the last batch are kept for the next stage that asks for the same records.
        """
        if self._backend is None:
            raise RuntimeError("setup() comes before the first batch")
        asked = list(records)
        if list(map(id, asked)) != list(map(id, self._last[0])):
            images, captions = zip(*((each.pixels, each.caption) for each in asked), strict=True)
            found = self._backend.predict(images, captions)
            pairs = zip(found, asked, strict=True)
            self._last = (asked, [in_order(each, record.caption) for each, record in pairs])
        return self._last[1]


class DetectorStage(Stage):
    """A stage that computes its kind of latent from what a detector finds in the pixels."""

    output: ClassVar[str]
    version: ClassVar[int]
    needs_masks: ClassVar[bool] = False

    def __init__(self, detector: Detector) -> None:
        if self.needs_masks and not detector.model.has_masks:
            raise KaleidoError(
                f"extract {self.output}",
                f"{detector.model.name} finds boxes without masks, and {self.output} need masks.",
                "Name a model for instance segmentation, or extract boxes alone.",
            )
        self._detector = detector
        self.spec = StageSpec(
            name=f"{self.output}-{detector.model.family}",
            version=self.version,
            output=self.output,
            options=detector.options,
        )

    def setup(self) -> None:
        """Load the detector."""
        self._detector.setup()

    def __call__(self, records: Sequence[Record]) -> list[Outcome]:
        """Compute the latent of each record; Filtered where nothing is found."""
        return self.convert(self._detector.find(records), records)

    @abstractmethod
    def convert(self, found: Sequence[Detections], records: Sequence[Record]) -> list[Outcome]:
        """Turn the ordered detections of each record, perhaps none, into its outcome."""


def in_order(detections: Detections, caption: str) -> Detections:
    """Put detections in canonical order.

    What the caption mentions comes first, in the caption's order; like things, and what it does
    not mention, go from left to right. So one picture has one z, and the prior need not learn an
    order that carries nothing.
    """
    centres = detections.boxes[:, :2] + detections.boxes[:, 2:]
    mentions = [first_mention(label, caption) for label in detections.labels]
    order = sorted(range(len(mentions)), key=lambda i: (mentions[i], *centres[i].tolist(), -i))
    return detections.take(order)


def first_mention(label: str, caption: str) -> int:
    """Where a caption first names a label, in the singular or plural; its length if nowhere."""
    match = re.search(rf"\b{re.escape(label)}(?:s|es)?\b", caption, re.IGNORECASE)
    return match.start() if match else len(caption)

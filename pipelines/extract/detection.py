"""Finding the objects of records with a detector, and the order in which z lists them."""

from __future__ import annotations

from collections.abc import Sequence

from pipelines.core.record import Record
from pipelines.core.stage import Failed, Filtered
from pipelines.extract.detectors.base import Detections, DetectorBackend, DetectorRef
from pipelines.extract.detectors.find import load_detector
from pipelines.extract.detectors.server import ServerDetectorRef, ServerGrounder
from pipelines.latents.items import first_mention

NOTHING = Filtered("no object found")


class Detector:
    """A detector with its thresholds, not loaded before `setup`.

    Args:
        ref: The detector.
        confidence: Detections below this score are dropped, from 0 to 1.
        max_objects: The most confident ones are kept.

    Attributes:
        ref: The detector.
        options: Everything that its results depend on, as JSON values.
    """

    def __init__(self, ref: DetectorRef, confidence: float, max_objects: int) -> None:
        self.ref, self._confidence, self._max_objects = ref, confidence, max_objects
        self._backend: DetectorBackend | None = None
        self.options = {
            "weights": ref.identity,
            "confidence": confidence,
            "max_objects": max_objects,
        } | ({"prompts": list(ref.prompts)} if ref.prompts else {})

    def setup(self) -> None:
        """Load the weights, once."""
        if self._backend is None:
            self._backend = load_detector(self.ref, self._confidence, self._max_objects)

    @property
    def notice(self) -> str:
        """Where pictures are sent; empty if they stay here."""
        if not isinstance(self.ref, ServerDetectorRef):
            return ""
        return self.ref.access.notice("Pictures and captions")

    def note(self) -> str:
        """Say what a server was asked and what it cost."""
        return self._backend.note() if isinstance(self._backend, ServerGrounder) else ""

    def find(self, records: Sequence[Record]) -> list[Detections | Failed]:
        """Find the objects of at least one record, in the order of `in_order`, or why it failed."""
        if self._backend is None:
            raise RuntimeError("setup() comes before the first batch")
        images = [record.pixels for record in records]
        found = self._backend.predict(images, [record.caption for record in records])
        pairs = zip(found, records, strict=True)
        return [
            each if isinstance(each, Failed) else in_order(each, record.caption)
            for each, record in pairs
        ]


def in_order(detections: Detections, caption: str) -> Detections:
    """Put detections in canonical order.

    Objects that the caption mentions come first, in the caption's order. Objects of one label, and
    those that it does not mention, go from left to right. So each picture has a single z, and the
    prior need not learn an order that carries no information.
    """
    centres = detections.boxes[:, :2] + detections.boxes[:, 2:]
    mentions = [first_mention(label, caption) for label in detections.labels]
    order = sorted(range(len(mentions)), key=lambda i: (mentions[i], *centres[i].tolist(), -i))
    return detections.take(order)

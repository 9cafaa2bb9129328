"""Boxes, blobs and colours of the objects that one detector finds."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence

from pipelines.core.errors import KaleidoError
from pipelines.core.record import Record
from pipelines.core.stage import NETWORK, Failed, Outcome, StageGroup, StageSpec
from pipelines.extract.blobs import fit_blobs
from pipelines.extract.boxes import find_boxes
from pipelines.extract.colours import find_colours
from pipelines.extract.detection import Detector
from pipelines.extract.detectors.base import Detections

Convert = Callable[[Sequence[Detections], Sequence[Record]], list[Outcome]]

VERSIONS: dict[str, tuple[int, Convert]] = {
    "boxes": (1, find_boxes),
    "blobs": (3, fit_blobs),
    "colours": (1, find_colours),
}
"""Kind -> version of its stage, and how it is made from detections."""


class ObjectsStage(StageGroup):
    """pixels -> `Boxes`, `Blobs` and `Colours`, with the same labels in the same order.

    The detector runs once per batch, whichever of them are wanted.

    Args:
        detector: Finds the objects; with masks, if blobs are wanted.
        kinds: Some of `VERSIONS`.

    Raises:
        KaleidoError: If blobs are wanted and the detector has no masks.
    """

    def __init__(self, detector: Detector, kinds: Sequence[str]) -> None:
        if "blobs" in kinds and not detector.ref.has_masks:
            raise KaleidoError(
                "extract blobs",
                f"{detector.ref.name} finds boxes without masks, and blobs need masks.",
                "Name a model for instance segmentation, or run `kaleido extract boxes` alone.",
                code="model-mismatch",
            )
        self._detector, self.notice = detector, detector.notice
        self.specs = [
            StageSpec(
                name=f"{kind}-{detector.ref.family}",
                version=VERSIONS[kind][0],
                output=kind,
                options=detector.options,
                resources=NETWORK,
            )
            for kind in kinds
        ]

    def setup(self) -> None:
        """Load the detector."""
        self._detector.setup()

    def note(self) -> str:
        """Say what a server was asked and what it cost."""
        return self._detector.note()

    def compute(
        self, records: Sequence[Record], kinds: Collection[str]
    ) -> Mapping[str, Sequence[Outcome]]:
        """Find the objects of each record, and write them as each kind."""
        found = self._detector.find(records)
        return {kind: _convert(VERSIONS[kind][1], found, records) for kind in kinds}


def _convert(
    convert: Convert, found: Sequence[Detections | Failed], records: Sequence[Record]
) -> list[Outcome]:
    """Convert the detections; a record whose detection failed keeps its reason."""
    pairs = zip(found, records, strict=True)
    usable = [(each, record) for each, record in pairs if isinstance(each, Detections)]
    made = iter(convert([each for each, _ in usable], [record for _, record in usable]))
    return [each if isinstance(each, Failed) else next(made) for each in found]

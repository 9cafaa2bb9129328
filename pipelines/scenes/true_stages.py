"""Extraction of the z that a perfect detector and a perfect captioner would give for scenes."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence

import numpy as np

from pipelines.core.record import Record
from pipelines.core.seeds import generator
from pipelines.core.stage import Filtered, Ok, Outcome, StageGroup, StageSpec
from pipelines.extract.boxes import to_boxes
from pipelines.extract.detection import NOTHING, in_order
from pipelines.latents.base import Latent
from pipelines.latents.description import Description
from pipelines.scenes.descriptions import describe_scene
from pipelines.scenes.factors import Scene, SceneObject
from pipelines.scenes.generate import mask_from_runs
from pipelines.scenes.truth import blobs_of, detections_of

KINDS = ("description", "boxes", "blobs")
"""Kinds that a scene's ground truth holds; palette and tokens follow from the pixels."""

_FACTORS = tuple(SceneObject.__dataclass_fields__)


class TrueStage(StageGroup):
    """Ground truth -> `Description`, `Boxes` and `Blobs`.

    Descriptions are worded in all ways, with the objects in reading order. The prior learns from
    them that all kinds of a z are about the same objects, which those of a detector and a captioner
    sometimes are not.

    Args:
        kinds: Some of `KINDS`.
        seed: Source of the descriptions' wordings.
    """

    def __init__(self, kinds: Sequence[str], seed: int) -> None:
        self._seed = seed
        self.specs = [StageSpec(f"{kind}-truth", 1, kind, options={"seed": seed}) for kind in kinds]

    def compute(
        self, records: Sequence[Record], kinds: Collection[str]
    ) -> Mapping[str, Sequence[Outcome]]:
        """Write each record's truth as the wanted kinds."""
        rows = [self._of(record, kinds) for record in records]
        return {kind: [row[kind] for row in rows] for kind in kinds}

    def _of(self, record: Record, kinds: Collection[str]) -> dict[str, Outcome]:
        scene, masks = _scene(record), _masks(record)
        found = in_order(detections_of(scene, masks), record.caption)
        rng = generator(self._seed, "description", record.key)
        makers: dict[str, Callable[[], Latent]] = {
            "description": lambda: Description(describe_scene(scene, rng)),
            "boxes": lambda: to_boxes(found, record.pixels.shape),
            "blobs": lambda: blobs_of(found, len(record.pixels)),
        }
        nothing: Filtered = NOTHING
        return {
            kind: Ok(makers[kind]()) if kind == "description" or len(found.labels) else nothing
            for kind in kinds
        }


def _scene(record: Record) -> Scene:
    truth = record.meta["truth"]
    objects = (SceneObject(**{name: each[name] for name in _FACTORS}) for each in truth["objects"])
    return Scene(tuple(objects), truth["arrangement"], truth["background"])


def _masks(record: Record) -> np.ndarray:
    size = len(record.pixels)
    return np.stack(
        [mask_from_runs(each["mask"], size) for each in record.meta["truth"]["objects"]]
    )

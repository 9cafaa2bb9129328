"""The yardstick of scenes: a judge that knows their objects, and fresh renders to compare with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

import numpy as np

from pipelines.core.errors import KaleidoError
from pipelines.evaluate.adherence.truth import WITHOUT, TrueZ
from pipelines.evaluate.measure import measure
from pipelines.evaluate.metrics.manifolds import NEIGHBOURS
from pipelines.evaluate.metrics.memorization import TrainingPictures
from pipelines.evaluate.metrics.statistics import Estimate
from pipelines.evaluate.observe import Observed, Source
from pipelines.evaluate.protocol import Description
from pipelines.scenes.judge import Judge, Verdict
from pipelines.scenes.reference import Asked, reference_scenes, scene_images


class ScenesProtocol:
    """A `pipelines.evaluate.protocol.EvaluationProtocol` for captions of scenes.

    Args:
        judge: Its features are measured in, and it says what a picture shows.
        captions: What is drawn.
        pictures: How many of a caption in all, over all seeds.
        training: Pictures that the models were trained on.
        truth: Writes the z of real pictures.

    Raises:
        KaleidoError: If a caption is not one of scenes, or the pictures are too few.
    """

    real_seeds: int | None = None

    def __init__(
        self,
        judge: Judge,
        captions: Sequence[str],
        pictures: int,
        training: TrainingPictures,
        truth: TrueZ,
    ) -> None:
        self.captions, self.training, self.truth = tuple(captions), training, truth
        if len(self.captions) * pictures <= NEIGHBOURS:
            raise KaleidoError(
                "captions, n and seeds",
                f"precision and recall need more than {NEIGHBOURS} pictures of a model.",
                "Use a larger --captions, --n, or more --seeds.",
            )
        self._asked = [Asked.by(caption) for caption in self.captions]
        self._judge, self.name = judge, judge.name
        self.facts = {"judge": [judge.name, asdict(judge.config)]}
        self.description = Description(
            "as many real renders, drawn from the data's distribution given each caption; “real "
            "pictures” are a second such set",
            f"{judge.name}: three levels of the judge pooled to coarse grids, projected on the "
            "principal components of renders",
            "rotation",
            ceiling=dict(judge.config.ceiling),
        )

    def real(self, n: int, side: int) -> dict[str, Source]:
        """Fresh renders, others under each seed; the second set has its z."""
        return {
            "reference": real_of(n, "reference", side),
            "data": real_of(n, "data", side, self.truth),
        }

    def look(self, images: np.ndarray) -> tuple[np.ndarray, list[Verdict]]:
        """The judge's features and verdicts."""
        return self._judge.look(images)

    def measure(self, seen: Observed, reference: Observed) -> dict[str, Estimate]:
        """All metrics of `pipelines.evaluate.measure.measure`."""
        return measure(seen, reference, self._asked, self._judge.config.ceiling["adherence"])

    def measure_real(self, data: Observed | None, reference: Observed) -> dict[str, Estimate]:
        """Measure the second set as a model's pictures."""
        return {} if data is None else self.measure(data, reference)


def real_of(n: int, purpose: str, side: int = 64, truth: TrueZ = WITHOUT) -> Source:
    """Real pictures of `side` pixels: ``reference``, or ``data`` for an independent second set."""

    def source(caption: str, seed: int) -> tuple[list[str], np.ndarray]:
        scenes = reference_scenes(caption, n, seed, purpose)
        z = [truth.of_scene(scene, caption) for scene in scenes]
        return z, scene_images(scenes, side)

    return source

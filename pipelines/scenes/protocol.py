"""The evaluation protocol for scenes: a judge that detects their objects, and fresh renders."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass

import numpy as np

from pipelines.core.errors import KaleidoError
from pipelines.core.progress import Progress
from pipelines.embedded.paths import embedded_path
from pipelines.evaluate.adherence.truth import WITHOUT, TrueZ
from pipelines.evaluate.metrics.manifolds import NEIGHBOURS
from pipelines.evaluate.metrics.memorization import TrainingPictures, training_pictures
from pipelines.evaluate.metrics.statistics import Estimate
from pipelines.evaluate.observations import Verdict
from pipelines.evaluate.observe import Inspect, Observed, Pictures, PictureSource
from pipelines.evaluate.protocol import Compared, ProtocolNotes
from pipelines.models.shapes import Shape
from pipelines.sample.engine import Loadable, require_same
from pipelines.scenes.heldout import captions_of, fresh_captions, require_scenes
from pipelines.scenes.judge import Judge
from pipelines.scenes.measure import measure
from pipelines.scenes.reference import Asked, reference_scenes, scene_images
from pipelines.scenes.shipped_data import DATA_NAME, SCENES, training_scenes
from pipelines.scenes.titles import CURVES, HEADLINES, PARITY_ENTROPIES, TITLES
from pipelines.scenes.truth import z_of_scene
from pipelines.workspace.workspace import Workspace


@dataclass(frozen=True)
class Scenes:
    """Choose `ScenesProtocol`.

    Attributes:
        captions: Captions to draw. None takes held-out captions: from the workspace's data for its
            own models, from new scenes for the embedded ones.
        embedded: Compare the embedded models and ignore the workspace's models and data.
    """

    captions: Sequence[str] | None = None
    embedded: bool = False

    def check(self, workspace: Workspace) -> None:
        """Check that the workspace's data, if any, are scenes of the normal variant."""
        if not self.embedded:
            require_scenes(workspace)

    def open(self, compared: Compared) -> ScenesProtocol:
        """Load the judge and choose the captions."""
        settings = compared.workspace.settings.evaluate
        captions = self._held_out(compared) if self.captions is None else self.captions
        _require_different(captions)
        judge = Judge.load(embedded_path("judge"))
        if compared.embedded:
            searched = settings.training or SCENES
            training = TrainingPictures(training_scenes(searched), f"{DATA_NAME}, {searched}")
        else:
            training = training_pictures(compared.workspace, settings.training)
        pictures = settings.n * len(settings.seeds)
        return ScenesProtocol(judge, captions, pictures, training, compared.truth)

    def _held_out(self, compared: Compared) -> list[str]:
        wanted = compared.workspace.settings.evaluate.captions
        if compared.embedded:
            compared.progress.message(
                "Evaluating the embedded models on captions of new held-out scenes."
            )
            return fresh_captions(wanted)
        return _of_data(compared.workspace, wanted, compared.progress)


@dataclass(frozen=True)
class SameJudge:
    """Loads the judge on another machine.

    Attributes:
        name: Of the driver's, which holds a hash of it.
    """

    name: str

    def load(self, workspace: Workspace) -> Inspect:
        """Load it.

        Raises:
            KaleidoError: If it is another one than the driver's.
        """
        judge = Judge.load(embedded_path("judge"))
        require_same("judges", judge.name, self.name)
        return judge.inspect


class ScenesProtocol:
    """A `pipelines.evaluate.protocol.EvaluationProtocol` for captions of scenes.

    Args:
        judge: Provides the feature space and detects the objects of a picture.
        captions: Captions to draw.
        pictures: Pictures per caption, over all seeds.
        training: Pictures that the models were trained on.
        truth: Writes the z of real pictures.

    Raises:
        KaleidoError: If a caption is not a caption of scenes, or there are too few pictures.
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
                f"precision and recall need more than {NEIGHBOURS} pictures per model.",
                "Increase --captions or --n, or use more --seeds.",
                code="not-comparable",
            )
        self._asked = [Asked.by(caption) for caption in self.captions]
        self.groups = tuple(map(_combination, self._asked))
        self._judge, self.name = judge, judge.name
        self.elsewhere: Loadable = SameJudge(judge.name)
        self.metadata = {"judge": [judge.name, asdict(judge.config)]}
        self.notes = ProtocolNotes(
            "the same number of real renders, drawn from the data's distribution given each "
            "caption; “real pictures” are a second such set",
            f"{judge.name}: three levels of the judge, pooled to coarse grids and projected on the "
            "principal components of renders",
            "rotation",
            ceiling=dict(judge.config.ceiling),
            parity_entropies=PARITY_ENTROPIES,
            headlines=HEADLINES,
            curves=CURVES,
            titles=TITLES,
        )

    def real(self, n: int, shape: Shape) -> dict[str, PictureSource]:
        """Draw fresh renders that differ between seeds; the second set comes with z."""
        return {
            "reference": real_of(n, "reference", shape[0]),
            "data": real_of(n, "data", shape[0], self.truth),
        }

    def inspect(
        self, images: np.ndarray, texts: Sequence[str] = ()
    ) -> tuple[np.ndarray, list[Verdict]]:
        """Compute the judge's features and verdicts."""
        return self._judge.inspect(images, texts)

    def measure(self, seen: Observed, reference: Observed) -> dict[str, Estimate]:
        """Compute all metrics of `pipelines.scenes.measure.measure`."""
        return measure(seen, reference, self._asked, self._judge.config.ceiling["adherence"])

    def measure_real(self, data: Observed | None, reference: Observed) -> dict[str, Estimate]:
        """Measure the second set like a model's pictures."""
        return {} if data is None else self.measure(data, reference)


def real_of(n: int, purpose: str, side: int = 64, truth: TrueZ = WITHOUT) -> PictureSource:
    """Draw real pictures of `side` pixels.

    Args:
        n: Pictures per caption and seed.
        purpose: ``reference``, or ``data`` for an independent second set.
        side: Side in pixels.
        truth: Writes their z.
    """

    def source(captions: Sequence[str], seed: int) -> Iterator[Pictures]:
        for caption in captions:
            scenes = reference_scenes(caption, n, seed, purpose)
            z = [z_of_scene(truth, scene, caption) for scene in scenes]
            yield z, scene_images(scenes, side)

    return source


def _of_data(workspace: Workspace, wanted: int, progress: Progress) -> list[str]:
    found = captions_of(workspace, wanted)
    if len(found) < wanted:
        progress.message(f"The data have {len(found)} held-out captions; {wanted} were requested.")
    return found


def _combination(asked: Asked) -> str:
    """Return the shapes and their counts; captions that share them differ only in wording."""
    return ", ".join(f"{count} {shape}" for shape, count in sorted(asked.shapes.items()))


def _require_different(captions: Sequence[str]) -> None:
    repeated = [caption for caption, times in Counter(captions).items() if times > 1]
    if repeated:
        raise KaleidoError(
            "captions", f"{repeated[0]!r} occurs twice.", "List each one once.", code="bad-option"
        )

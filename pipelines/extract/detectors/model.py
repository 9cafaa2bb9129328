"""Which detector or segmenter a name means, known before anything heavy is loaded."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pipelines.core.errors import KaleidoError
from pipelines.core.fingerprint import fingerprint
from pipelines.extract.detectors.base import DetectorBackend, DetectorModel
from pipelines.extract.detectors.checkpoint import SUFFIX as CHECKPOINT
from pipelines.extract.detectors.checkpoint import find_checkpoint
from pipelines.extract.detectors.plugin import PluginDetector, plugin_detector
from pipelines.extract.detectors.sam import SamModel, sam_in
from pipelines.extract.phrases import NounPhrases, installed_parser
from pipelines.models.hub import architecture_of, model_folder, model_identity, read_config

WITH_MASKS = ("yolo", "segmentation")
"""Families whose detections have masks."""

_OPEN = ("grounding-dino", "mm-grounding-dino", "owlvit", "owlv2")
"""``model_type`` of transformers' open-vocabulary detectors whose processors take phrases."""


class SavedDetector(DetectorModel):
    """A detector in the folder `name`: ``yolo``, ``detection``, ``open`` or ``segmentation``."""

    def load(self, confidence: float, max_detections: int) -> DetectorBackend:
        """Load the weights, see `DetectorModel`."""
        folder = Path(self.name)
        if self.family == "yolo":
            from pipelines.extract.detectors.yolo import YoloBackend

            return YoloBackend(folder, confidence, max_detections)
        from pipelines.extract.detectors import pretrained

        if self.family == "open":
            phrases = (lambda _: self.prompts) if self.prompts else NounPhrases()
            return pretrained.OpenDetector(folder, confidence, max_detections, phrases)
        kinds = {
            "detection": pretrained.ObjectDetector,
            "segmentation": pretrained.InstanceSegmenter,
        }
        return kinds[self.family](folder, confidence, max_detections)


def find_detector(
    name: str, prompts: Sequence[str] = (), trust_weights: bool = False
) -> DetectorModel:
    """Find a detector: a folder, a plug-in, or a model of the Hugging Face hub, which is fetched.

    Args:
        name: A folder with a YOLO of `pipelines.extract.detectors.yolo` or a model of transformers,
            or a checkpoint of ultralytics, or the name of a plug-in's detector, or one on the hub.
        prompts: What an open-vocabulary detector shall look for.
        trust_weights: Load a checkpoint even if that may run code.

    Raises:
        KaleidoError: If there is no such model, it cannot be fetched or detects nothing, `prompts`
            are given to a detector of a closed vocabulary, or an open one has neither prompts nor
            spaCy's model.
    """
    if plugin := _plugin(name, prompts):
        return plugin
    if _is_checkpoint(name):
        _refuse_prompts(name, prompts)
        return find_checkpoint(Path(name), trust_weights)
    folder = model_folder(name)
    family = _family(folder)
    if family != "open":
        _refuse_prompts(name, prompts)
    parser = installed_parser() if family == "open" and not prompts else ()
    identity = fingerprint(model_identity(folder), parser)
    return SavedDetector(str(folder), family, identity, family in WITH_MASKS, tuple(prompts))


def find_segmenter(name: str, trust_weights: bool = False) -> SamModel | DetectorModel:
    """Find what makes masks: a SAM, which is asked with boxes, or a detector.

    Args:
        name: As for `find_detector`, or likewise of a SAM.
        trust_weights: As for `find_detector`.

    Raises:
        KaleidoError: As `find_detector`. Whether a detector's finds have masks is not checked.
    """
    if not (_plugin(name) or _is_checkpoint(name)):
        folder = model_folder(name)
        if sam := sam_in(folder):
            return sam
        name = str(folder)
    return find_detector(name, trust_weights=trust_weights)


def _plugin(name: str, prompts: Sequence[str] = ()) -> PluginDetector | None:
    return None if Path(name).is_dir() else plugin_detector(name, tuple(prompts))


def _is_checkpoint(name: str) -> bool:
    path = Path(name)
    if path.suffix != CHECKPOINT or path.is_dir():
        return False
    if not path.exists():
        raise KaleidoError(name, "there is no such file.", "Check the path.")
    return True


def _refuse_prompts(name: str, prompts: Sequence[str]) -> None:
    if prompts:
        raise KaleidoError(
            "--find",
            f"{name} finds the classes that it was trained on, and no others.",
            "Name an open-vocabulary detector, OWLv2 or Grounding DINO say, with --model.",
        )


def _family(folder: Path) -> str:
    if (folder / "model.yaml").is_file():
        return "yolo"
    config = read_config(folder, "a detector")
    architecture = architecture_of(config)
    if config.get("model_type") in _OPEN:
        return "open"
    if architecture.endswith("ForObjectDetection"):
        return "detection"
    if architecture.endswith(("ForUniversalSegmentation", "ForInstanceSegmentation")):
        return "segmentation"
    raise KaleidoError(
        str(folder),
        f"a {architecture or 'model of this kind'} finds no objects.",
        "Use a model for object detection or instance segmentation.",
        code="bad-model",
    )

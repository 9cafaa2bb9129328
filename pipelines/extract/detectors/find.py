"""Which detector or segmenter a name means, and loading it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from pipelines.core.errors import KaleidoError
from pipelines.core.fingerprint import fingerprint
from pipelines.core.plugins import DETECTORS
from pipelines.extract.detectors.base import DetectorBackend, DetectorRef
from pipelines.extract.detectors.checkpoint import SUFFIX as CHECKPOINT
from pipelines.extract.detectors.checkpoint import find_checkpoint
from pipelines.extract.detectors.grounding import FAMILIES, MODEL_TYPES, Grounder
from pipelines.extract.detectors.server import ServerDetectorRef, ServerGrounder
from pipelines.extract.model_ref import PluginContract, locate
from pipelines.extract.phrases import NounPhrases, installed_parser
from pipelines.models.hub import architecture_of, model_identity, read_config

PLUGINS = PluginContract(DETECTORS, "predict", "has_masks")
"""The detectors that plug-ins bring."""

SAMS = {"sam": "Sam", "sam2": "Sam2", "sam2_video": "Sam2"}
"""``model_type`` -> prefix of transformers' classes. SAM 2's public folders say ``sam2_video``."""

WITH_MASKS = ("yolo", "segmentation", "Sam", "Sam2")
"""Families whose detections have masks."""

_OPEN = ("grounding-dino", "mm-grounding-dino", "owlvit", "owlv2")
"""``model_type`` of transformers' open-vocabulary detectors whose processors take phrases."""


def find_detector(
    name: str, prompts: Sequence[str] = (), trust_weights: bool = False
) -> DetectorRef:
    """Find a detector.

    Args:
        name: See `pipelines.extract.model_ref.locate`: a folder with a YOLO of
            `pipelines.extract.detectors.yolo` or a model of transformers, a checkpoint of
            ultralytics, a plug-in's name, or a name on the hub.
        prompts: What an open-vocabulary detector or a vision-language model shall look for.
        trust_weights: Load a checkpoint even if that may run code.

    Raises:
        KaleidoError: If there is no such model, it cannot be fetched or detects nothing, `prompts`
            are given to a detector of a closed vocabulary, or an open one has neither prompts nor
            spaCy's model.
    """
    ref = find_segmenter(name, prompts, trust_weights)
    if ref.family in SAMS.values():
        raise KaleidoError(
            name,
            "a SAM finds no objects; it needs boxes.",
            "Name it for `kaleido extract blobs`, and another model for boxes.",
            code="bad-model",
        )
    return ref


def find_segmenter(
    name: str, prompts: Sequence[str] = (), trust_weights: bool = False
) -> DetectorRef:
    """Find a detector or a SAM, which masks the objects in given boxes.

    Args:
        name: As for `find_detector`, or likewise of a SAM.
        prompts: As for `find_detector`.
        trust_weights: As for `find_detector`.

    Raises:
        KaleidoError: As `find_detector`. Whether a detector's results have masks is not checked.
    """
    found = locate(name, PLUGINS, (CHECKPOINT,))
    if not isinstance(found, Path):
        ref = DetectorRef(name, name, found.identity, None, found.has_masks)
    elif found.is_file():
        ref = find_checkpoint(found, trust_weights)
    else:
        ref = _in_folder(name, found)
    if ref.family not in ("open", *FAMILIES):
        if prompts:
            raise KaleidoError(
                "--find",
                f"{name} finds the classes that it was trained on, and no others.",
                "Name an open-vocabulary detector (OWLv2, Grounding DINO) or a vision-language "
                "model (Qwen-VL, Florence-2) with --model.",
                code="bad-option",
            )
        return ref
    reads = ref.family in FAMILIES and not FAMILIES[ref.family].phrases
    parser = () if prompts or reads else installed_parser()
    return replace(ref, identity=fingerprint(ref.identity, parser), prompts=tuple(prompts))


def _in_folder(name: str, folder: Path) -> DetectorRef:
    family = _family(folder)
    identity = model_identity(folder)
    if family in FAMILIES:
        identity = fingerprint(identity, FAMILIES[family].identity)
    elif family not in ("open", *SAMS.values()):
        identity = fingerprint(identity, ())  # as for open ones, which depend on a parser too
    return DetectorRef(name, family, identity, folder, family in WITH_MASKS)


def _family(folder: Path) -> str:
    if (folder / "model.yaml").is_file():
        return "yolo"
    config = read_config(folder, "a detector")
    kind, architecture = str(config.get("model_type")), architecture_of(config)
    if kind in SAMS:
        return SAMS[kind]
    if kind in MODEL_TYPES and architecture.endswith("ForConditionalGeneration"):
        return MODEL_TYPES[kind].dialect
    if kind in _OPEN:
        return "open"
    if architecture.endswith("ForObjectDetection"):
        return "detection"
    if architecture.endswith(("ForUniversalSegmentation", "ForInstanceSegmentation")):
        return "segmentation"
    raise KaleidoError(
        str(folder),
        f"a {architecture or 'model of this kind'} finds no objects.",
        "Use a model for object detection or instance segmentation, or a vision-language model: "
        f"{', '.join(FAMILIES)}.",
        code="bad-model",
    )


def load_detector(ref: DetectorRef, confidence: float, max_detections: int) -> DetectorBackend:
    """Load a detector's weights, onto the GPU if there is one.

    Args:
        ref: The detector.
        confidence: Detections below this score are dropped, from 0 to 1.
        max_detections: The most certain ones are kept.

    Raises:
        KaleidoError: If a library is missing, or the model is damaged or gone.
    """
    if isinstance(ref, ServerDetectorRef):
        return ServerGrounder(ref, max_detections)
    if ref.path is None:
        backend: DetectorBackend = PLUGINS.find(ref.name)(confidence, max_detections)
        return backend
    if ref.family == "yolo":
        from pipelines.extract.detectors.yolo import YoloBackend

        return YoloBackend(ref.path, confidence, max_detections)
    if ref.family == "ultralytics":
        from pipelines.extract.detectors.checkpoint import CheckpointBackend

        return CheckpointBackend(ref, confidence, max_detections)
    from pipelines.extract.detectors import pretrained

    if ref.family in FAMILIES:
        asked = FAMILIES[ref.family]
        wanted = _phrases(ref) if ref.prompts or asked.phrases else None
        return Grounder(ref.path, asked, max_detections, wanted)
    if ref.family == "open":
        phrases = _phrases(ref)
        return pretrained.OpenDetector(ref.path, confidence, max_detections, phrases)
    if ref.family == "detection":
        return pretrained.ObjectDetector(ref.path, confidence, max_detections)
    return pretrained.InstanceSegmenter(ref.path, confidence, max_detections)


def _phrases(ref: DetectorRef) -> Callable[[str], Sequence[str]]:
    """Return what names the objects to look for in a caption's picture."""
    return (lambda _: ref.prompts) if ref.prompts else NounPhrases()

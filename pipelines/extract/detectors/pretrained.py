"""Detectors of transformers: DETR and its relatives, open vocabularies, instance segmentation."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pipelines.core.extras import import_extra
from pipelines.core.masks import around
from pipelines.extract.detectors.base import Detections, most_certain
from pipelines.models.hub import load_model, read_config

if TYPE_CHECKING:
    import torch


class PretrainedBackend(ABC):
    """A detector and its processor, loaded from a folder without running any code of its own.

    Args:
        folder: A model and its processor, as ``save_pretrained`` writes them.
        confidence: Detections of a lower score are dropped.
        max_detections: The most certain ones are kept.

    Raises:
        KaleidoError: If the folder does not hold such a model.
    """

    auto_model: str
    auto_processor = "AutoImageProcessor"

    def __init__(self, folder: Path, confidence: float, max_detections: int) -> None:
        self.confidence, self.max_detections = confidence, max_detections
        needs = "It needs config.json, model.safetensors and a processor's configuration."
        loaded = load_model(folder, self.auto_processor, self.auto_model, "detector", needs)
        self._processor, self._model, self._device = loaded.processor, loaded.network, loaded.device

    def predict(self, images: Sequence[np.ndarray], captions: Sequence[str]) -> list[Detections]:
        """Find objects, see `DetectorBackend`."""
        import torch

        if not images:
            return []
        on_gpu = self._device.type == "cuda"
        with torch.inference_mode(), torch.autocast("cuda", torch.bfloat16, enabled=on_gpu):
            found = self._detect(images, captions)
        return [
            most_certain(each, image.shape[:2], self.max_detections)
            for each, image in zip(found, images, strict=True)
        ]

    @abstractmethod
    def _detect(self, images: Sequence[np.ndarray], captions: Sequence[str]) -> list[Detections]:
        """Detections of at least the wanted confidence, in any order."""

    def _inputs(self, images: Sequence[np.ndarray], **texts: Any) -> Any:
        # Copies: the pixels of a record are read-only, and torch warns of that.
        copies = [np.array(image) for image in images]
        return self._processor(images=copies, return_tensors="pt", **texts).to(self._device)

    def _names(self, indices: Iterable[int]) -> list[str]:
        return [self._model.config.id2label[int(index)] for index in indices]


class ObjectDetector(PretrainedBackend):
    """A closed vocabulary: RT-DETR, D-FINE, DETR, YOLOS and others."""

    auto_model = "AutoModelForObjectDetection"

    def _detect(self, images: Sequence[np.ndarray], captions: Sequence[str]) -> list[Detections]:
        outputs = self._model(**self._inputs(images))
        sizes = [image.shape[:2] for image in images]
        found = self._processor.post_process_object_detection(
            outputs, threshold=self.confidence, target_sizes=sizes
        )
        return [_detections(each, self._names(each["labels"])) for each in found]


class OpenDetector(PretrainedBackend):
    """An open vocabulary: Grounding DINO, OWLv2 and others, asked for phrases of the caption.

    Args:
        folder: As for `PretrainedBackend`, like `confidence` and `max_detections`.
        phrases: Returns the phrases to search for, given a caption.
    """

    auto_model = "AutoModelForZeroShotObjectDetection"
    auto_processor = "AutoProcessor"

    def __init__(
        self,
        folder: Path,
        confidence: float,
        max_detections: int,
        phrases: Callable[[str], Sequence[str]],
    ) -> None:
        super().__init__(folder, confidence, max_detections)
        self._phrases = phrases

    def _detect(self, images: Sequence[np.ndarray], captions: Sequence[str]) -> list[Detections]:
        # Only pictures of one size with the same phrases share a batch: nothing is padded then, and
        # the results of one do not depend on the others.
        alike: dict[tuple[tuple[str, ...], tuple[int, ...]], list[int]] = defaultdict(list)
        for index, (image, caption) in enumerate(zip(images, captions, strict=True)):
            alike[tuple(self._phrases(caption)), image.shape].append(index)
        found: dict[int, Detections] = {}
        for (phrases, _), indices in alike.items():
            pictures = [images[index] for index in indices]
            found |= zip(indices, self._ground(pictures, phrases), strict=True)
        return [found[index] for index in range(len(images))]

    def _ground(self, images: Sequence[np.ndarray], phrases: Sequence[str]) -> list[Detections]:
        """Search for the same phrases in every picture."""
        if not phrases:
            nothing = Detections(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), ())
            return [nothing] * len(images)
        options: dict[str, Any] = {}
        if "grounding" in self._model.config.model_type:
            # One text for all phrases; a box's label is the part of it that matches, perhaps empty.
            inputs = self._inputs(images, text=[". ".join(phrases) + "."] * len(images))
            options["input_ids"] = inputs["input_ids"]
        else:
            options["text_labels"] = [list(phrases)] * len(images)
            inputs = self._inputs(images, text=options["text_labels"])
        found = self._processor.post_process_grounded_object_detection(
            self._model(**inputs),
            threshold=self.confidence,
            target_sizes=[image.shape[:2] for image in images],
            **options,
        )
        every = [_detections(each, each["text_labels"]) for each in found]
        return [
            each.take([index for index, label in enumerate(each.labels) if label]) for each in every
        ]


class InstanceSegmenter(PretrainedBackend):
    """Masks, and boxes around them: Mask2Former, MaskFormer and others."""

    auto_model = "AutoModelForUniversalSegmentation"

    def __init__(self, folder: Path, confidence: float, max_detections: int) -> None:
        if str(read_config(folder, "a detector").get("model_type")).startswith("mask"):
            import_extra("scipy", "masks")
        super().__init__(folder, confidence, max_detections)

    def _detect(self, images: Sequence[np.ndarray], captions: Sequence[str]) -> list[Detections]:
        outputs = self._model(**self._inputs(images))
        found = self._processor.post_process_instance_segmentation(
            outputs,
            threshold=self.confidence,
            target_sizes=[image.shape[:2] for image in images],
            return_binary_maps=True,
        )
        return [self._of(each, image) for each, image in zip(found, images, strict=True)]

    def _of(self, found: dict[str, Any], image: np.ndarray) -> Detections:
        height, width = image.shape[:2]
        segments = found["segments_info"]
        masks = np.zeros((0, height, width), np.float32)
        if segments:
            masks = _array(found["segmentation"]).reshape(-1, height, width)
        every = Detections(
            np.array([around(mask) for mask in masks], np.float32).reshape(-1, 4),
            np.array([segment["score"] for segment in segments], np.float32),
            tuple(self._names(segment["label_id"] for segment in segments)),
            masks,
        )
        return every.take([index for index, mask in enumerate(masks) if mask.any()])


def _detections(found: dict[str, Any], labels: Sequence[str]) -> Detections:
    return Detections(_array(found["boxes"]), _array(found["scores"]), tuple(labels))


def _array(values: torch.Tensor) -> np.ndarray:
    return values.float().cpu().numpy().astype(np.float32)

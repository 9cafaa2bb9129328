"""Detectors in ultralytics' own checkpoints: YOLO of any version, and its RT-DETR.

A checkpoint (``.pt``) is a pickle, which may name any code to be run as it is read. What it names
is listed without running it, and it is read by ultralytics' restricted loader, which builds known
layers and nothing else, unless the user trusts the file.
"""

from __future__ import annotations

import pickletools
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zipfile import BadZipFile, ZipFile

import numpy as np

from pipelines.core.errors import KaleidoError
from pipelines.core.files import sha256_file
from pipelines.extract.backends.base import (
    Detections,
    DetectorBackend,
    DetectorModel,
    most_certain,
)
from pipelines.extract.backends.yolo import import_ultralytics

if TYPE_CHECKING:
    import torch

SUFFIX = ".pt"

_NETWORKS = {
    "DetectionModel": "detect",
    "YOLOv10DetectionModel": "detect",
    "WorldModel": "detect",
    "YOLOEModel": "detect",
    "RTDETRDetectionModel": "rtdetr",
    "SegmentationModel": "segment",
    "YOLOESegModel": "segment",
}
"""Networks of ``ultralytics.nn.tasks`` that find objects, and how their output is read."""

_PREDICTORS = {
    "detect": ("ultralytics.models.yolo.detect", "DetectionPredictor"),
    "rtdetr": ("ultralytics.models.rtdetr", "RTDETRPredictor"),
    "segment": ("ultralytics.models.yolo.segment", "SegmentationPredictor"),
}

_IMAGE_SIZE = 640
"""Pixels a side that a network sees whose checkpoint does not say."""


@dataclass(frozen=True)
class CheckpointDetector(DetectorModel):
    """A checkpoint of ultralytics, chosen and looked through, but not loaded.

    Attributes:
        task: ``detect``, ``rtdetr`` or ``segment``.
        trusted: Whether it may run code as it is loaded.
    """

    task: str = "detect"
    trusted: bool = False

    def load(self, confidence: float, max_detections: int) -> DetectorBackend:
        """Load the weights, see `DetectorModel`."""
        return CheckpointBackend(
            Path(self.name), self.task, confidence, max_detections, self.trusted
        )


def find_checkpoint(path: Path, trusted: bool) -> CheckpointDetector:
    """Look through a checkpoint, without running what is in it.

    Args:
        path: The file.
        trusted: Whether it may run code when it is loaded.

    Raises:
        KaleidoError: If it is no checkpoint of ultralytics, or its network finds no objects.
    """
    try:
        names = list(_globals(path))
    except (OSError, ValueError, StopIteration, BadZipFile) as error:
        raise KaleidoError(
            str(path),
            f"this is not a checkpoint of ultralytics ({type(error).__name__}: {error}).",
            "Name a .pt file that ultralytics wrote, or a folder with safetensors.",
        ) from error
    networks = [
        name.rpartition(".")[2] for name in names if name.startswith("ultralytics.nn.tasks")
    ]
    task = next((_NETWORKS[name] for name in networks if name in _NETWORKS), None)
    if task is None:
        raise KaleidoError(
            str(path),
            f"{networks[0] if networks else 'what it holds'} finds no upright boxes.",
            "Use a model for object detection or instance segmentation.",
        )
    return CheckpointDetector(
        str(path), "ultralytics", sha256_file(path), task == "segment", task=task, trusted=trusted
    )


def _globals(path: Path) -> Iterator[str]:
    """The classes and functions that a checkpoint names, in its order."""
    with ZipFile(path) as archive:
        inner = next(name for name in archive.namelist() if name.endswith("/data.pkl"))
        with archive.open(inner) as file:
            for opcode, argument, _ in pickletools.genops(file):
                if opcode.name == "GLOBAL":
                    yield str(argument).replace(" ", ".")


class CheckpointBackend:
    """A network of ultralytics with ultralytics' own preparation and reading of its output.

    Each image is scaled by itself to the size that the network was trained on, and padded to a
    square, so that what is found does not depend on the images beside it.

    Args:
        path: The checkpoint.
        task: How its output is read, see `CheckpointDetector`.
        confidence: Detections of a lower score are dropped.
        max_detections: The most certain ones are kept.
        trusted: Let it run code as it is read.

    Raises:
        KaleidoError: If ultralytics is missing, or the file is damaged, or holds more than known
            layers and is not trusted.
    """

    def __init__(
        self, path: Path, task: str, confidence: float, max_detections: int, trusted: bool = False
    ) -> None:
        from pipelines.models.device import compute_device

        model, trained_with = _load(path, trusted)
        self._max_detections = max_detections
        module, predictor = _PREDICTORS[task]
        self._predictor = getattr(import_ultralytics(module), predictor)(
            overrides={
                "conf": confidence,
                # More than are kept, since second boxes of one object are dropped after it.
                "max_det": 4 * max_detections,
                "imgsz": trained_with.get("imgsz", _IMAGE_SIZE),
                "rect": False,
                "retina_masks": True,
                "device": str(compute_device()),
                "save": False,
                "verbose": False,
            }
        )
        self._predictor.setup_model(model, verbose=False)

    def predict(
        self, images: Sequence[np.ndarray], captions: Sequence[str] = ()
    ) -> list[Detections]:
        """Find objects, see `DetectorBackend`; captions say nothing to it."""
        from pipelines.models.device import in_fp32

        if not images:
            return []
        with in_fp32():
            # It takes OpenCV's order of channels.
            found = self._predictor([np.ascontiguousarray(image[..., ::-1]) for image in images])
        return [
            most_certain(_detections(each), image.shape[:2], self._max_detections)
            for each, image in zip(found, images, strict=True)
        ]


def _load(path: Path, trusted: bool) -> tuple[torch.nn.Module, dict[str, Any]]:
    """The network, and the settings that it was trained with."""
    tasks = import_ultralytics("ultralytics.nn.tasks")
    try:
        checkpoint, _ = tasks.torch_safe_load(path, safe_only=not trusted)
        network = (checkpoint.get("ema") or checkpoint["model"]).float().eval()
    except TypeError as error:
        raise KaleidoError(
            str(path),
            f"besides layers it names {_refused(error)}, and may do anything as it is read.",
            "If you know who made it, add --trust-weights; else use safetensors.",
        ) from error
    except Exception as error:  # whatever a damaged or unfamiliar pickle brings about
        raise KaleidoError(
            str(path),
            f"the checkpoint cannot be loaded ({type(error).__name__}: {error}).",
            "Fetch or train it again.",
        ) from error
    return network, dict(checkpoint.get("train_args") or {})


def _refused(error: TypeError) -> str:
    """The name that the restricted loader would not look up, as torch tells it."""
    found = re.search(r"GLOBAL (\S+)", str(error.__cause__))
    return found[1] if found else type(error.__cause__).__name__


def _detections(found: Any) -> Detections:
    """What ultralytics' ``Results`` of one image holds."""
    boxes = found.boxes
    return Detections(
        boxes.xyxy.cpu().numpy().astype(np.float32),
        boxes.conf.cpu().numpy().astype(np.float32),
        tuple(found.names[int(index)] for index in boxes.cls.tolist()),
        None if found.masks is None else found.masks.data.cpu().numpy().astype(np.float32),
    )

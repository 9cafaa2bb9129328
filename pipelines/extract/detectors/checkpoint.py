"""Detectors in ultralytics' own checkpoints: YOLO of any version, and its RT-DETR.

A checkpoint (``.pt``) is a pickle, which may name any code to be run as it is read. So its names
and sizes are checked first (`pipelines.extract.detectors.archive`), and it is read by ultralytics'
restricted loader, which refuses all names but those of layers and a few values, unless the user
trusts the file.
"""

from __future__ import annotations

import pickle
import re
import shutil
import tempfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any
from zipfile import BadZipFile

import numpy as np

from pipelines.core.errors import KaleidoError
from pipelines.core.files import sha256_file
from pipelines.core.temporary import process_folder
from pipelines.extract.detectors.archive import NETWORKS, NotAllowed, read_names
from pipelines.extract.detectors.base import Detections, DetectorRef, most_certain
from pipelines.extract.detectors.yolo import import_ultralytics
from pipelines.models.hub import loading_error, require_finite
from pipelines.models.offline import without_network

if TYPE_CHECKING:
    import torch

SUFFIX = ".pt"

_PREDICTORS = {
    "detect": ("ultralytics.models.yolo.detect", "DetectionPredictor"),
    "rtdetr": ("ultralytics.models.rtdetr", "RTDETRPredictor"),
    "segment": ("ultralytics.models.yolo.segment", "SegmentationPredictor"),
}

_IMAGE_SIZE = 640
"""Side in pixels of a network's input where its checkpoint does not give it."""

MAX_IMAGE_SIZE = 4096

_UNREADABLE = (
    OSError,
    ValueError,
    RuntimeError,
    NotImplementedError,
    BadZipFile,
    zlib.error,
    pickle.UnpicklingError,
)
"""Errors that a file causes which is not a sound archive with a pickle."""


def find_checkpoint(path: Path, trusted: bool) -> DetectorRef:
    """Check a checkpoint, without running anything in it.

    Args:
        path: The file.
        trusted: Whether it may run code when it is loaded.

    Raises:
        KaleidoError: If it is no checkpoint of ultralytics, its network finds no objects, or it
            holds more than layers and is not trusted.
    """
    names = _checked_names(path, path, trusted)
    networks = [
        name.rpartition(".")[2] for name in names if name.startswith("ultralytics.nn.tasks")
    ]
    task = next((NETWORKS[name] for name in networks if name in NETWORKS), None)
    if task is None:
        raise KaleidoError(
            str(path),
            f"{networks[0] if networks else 'this file'} finds no upright boxes.",
            "Use a model for object detection or instance segmentation.",
            code="bad-model",
        )
    return DetectorRef(
        str(path),
        "ultralytics",
        sha256_file(path),
        path,
        has_masks=task == "segment",
        task=task,
        trusted=trusted,
    )


def _checked_names(file: Path, path: Path, trusted: bool) -> list[str]:
    """Check a file, which errors call `path`, and return the names in it."""
    try:
        return read_names(file, trusted)
    except NotAllowed as error:
        raise _untrusted(path, str(error)) from error
    except _UNREADABLE as error:
        raise KaleidoError(
            str(path),
            f"this is not a checkpoint of ultralytics ({type(error).__name__}: {error}).",
            "Name a .pt file that ultralytics wrote, or a folder with safetensors.",
            code="bad-model",
        ) from error


class CheckpointBackend:
    """A network of ultralytics with ultralytics' own pre- and postprocessing.

    Each image is scaled by itself to the size that the network was trained on, and padded to a
    square, so that what is found does not depend on the images beside it.

    Args:
        ref: The checkpoint.
        confidence: Detections of a lower score are dropped.
        max_detections: The most certain ones are kept.

    Raises:
        KaleidoError: If ultralytics is missing, or the file is damaged, or holds more than known
            layers and is not trusted.
    """

    def __init__(self, ref: DetectorRef, confidence: float, max_detections: int) -> None:
        import torch

        from pipelines.models.device import compute_device

        model, trained_with = _load(ref.folder, ref.trusted)
        self._max_detections, self._has_masks = max_detections, ref.has_masks
        module, predictor = _PREDICTORS[ref.task]
        self._predictor = getattr(import_ultralytics(module), predictor)(
            overrides={
                "conf": confidence,
                # More than are kept, since second boxes of one object are dropped after it.
                "max_det": 4 * max_detections,
                "imgsz": min(int(trained_with.get("imgsz", _IMAGE_SIZE)), MAX_IMAGE_SIZE),
                "rect": False,
                "retina_masks": True,
                "device": str(compute_device()),
                "save": False,
                "verbose": False,
            }
        )
        threads = torch.get_num_threads()
        self._predictor.setup_model(model, verbose=False)
        torch.set_num_threads(threads)  # which ultralytics has changed

    def predict(
        self, images: Sequence[np.ndarray], captions: Sequence[str] = ()
    ) -> list[Detections]:
        """Find objects, see `DetectorBackend`; captions are not used."""
        from pipelines.models.device import in_fp32

        if not images:
            return []
        with in_fp32():
            # It takes OpenCV's order of channels.
            found = self._predictor([np.ascontiguousarray(image[..., ::-1]) for image in images])
        return [
            most_certain(self._detections(each), image.shape[:2], self._max_detections)
            for each, image in zip(found, images, strict=True)
        ]

    def _detections(self, found: Any) -> Detections:
        """Read ultralytics' ``Results`` of one image; they lack masks where nothing was found."""
        boxes = found.boxes
        masks = np.zeros((0, *found.orig_shape), np.float32) if self._has_masks else None
        if found.masks is not None:
            masks = found.masks.data.cpu().numpy().astype(np.float32)
        return Detections(
            boxes.xyxy.cpu().numpy().astype(np.float32),
            boxes.conf.cpu().numpy().astype(np.float32),
            tuple(found.names[int(index)] for index in boxes.cls.tolist()),
            masks,
        )


def _load(path: Path, trusted: bool) -> tuple[torch.nn.Module, dict[str, Any]]:
    """Load the network, and the settings that it was trained with."""
    tasks = import_ultralytics("ultralytics.nn.tasks")
    try:
        # A copy of a plain name: some names ultralytics changes, fetches, or deletes when damaged.
        with tempfile.TemporaryDirectory(dir=process_folder()) as folder:
            copy = Path(shutil.copyfile(path, Path(folder) / f"checkpoint{SUFFIX}"))
            _checked_names(copy, path, trusted)
            if not trusted:
                _require_restricted_loader(path, tasks)
            with without_network(str(path)):
                checkpoint, _ = tasks.torch_safe_load(copy, safe_only=not trusted)
        network = (checkpoint.get("ema") or checkpoint["model"]).float().eval()
        require_finite(network, path)
        return network, dict(checkpoint.get("train_args") or {})
    except KaleidoError:
        raise
    except Exception as error:  # whatever a damaged or unfamiliar pickle brings about
        reason = error.__cause__ or error  # torch's message, which ultralytics turns into a page
        refused = re.search(r"GLOBAL (\S+)", str(reason))
        if refused and not trusted:
            raise _untrusted(path, refused[1]) from error
        cause = reason if isinstance(reason, Exception) else error
        raise loading_error(cause, path, "checkpoint", "Fetch or train it again.") from error


def _require_restricted_loader(path: Path, tasks: ModuleType) -> None:
    if not (tasks.SAFE_LOAD and tasks._SafeLoad.SUPPORTED):
        raise KaleidoError(
            str(path),
            "ultralytics' restricted loader is not at work here.",
            "Update torch and ultralytics; before you import them, set ULTRALYTICS_SAFE_LOAD=true.",
            code="unsafe-model",
        )


def _untrusted(path: Path, name: str) -> KaleidoError:
    return KaleidoError(
        str(path),
        f"besides layers it names {name}, and may do anything as it is read.",
        "If you know who made it, add --trust-weights; else use safetensors.",
        code="unsafe-model",
    )

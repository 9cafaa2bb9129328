"""Detectors in ultralytics' own checkpoints: YOLO of any version, and its RT-DETR.

A checkpoint (``.pt``) is a pickle, which may name any code to be run as it is read. So it is read
by ultralytics' restricted loader, which refuses all names but those of layers and a few values,
unless the user trusts the file. Which kind of network it holds is found by listing its names, which
runs nothing.
"""

from __future__ import annotations

import pickletools
import re
import shutil
import tempfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any
from zipfile import BadZipFile, ZipFile

import numpy as np

from pipelines.core.errors import KaleidoError
from pipelines.core.files import sha256_file
from pipelines.extract.detectors.base import Detections, DetectorRef, most_certain
from pipelines.extract.detectors.yolo import import_ultralytics
from pipelines.models.hub import first_line

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

_REACHING = ("DistillationModel", "TorchVision", "CLIP")
"""Classes of ultralytics that load another file or fetch weights as they are made."""

_IMAGE_SIZE = 640
"""Pixels a side that a network sees whose checkpoint does not say."""


_UNREADABLE = (OSError, ValueError, RuntimeError, NotImplementedError, BadZipFile, zlib.error)
"""What a file that is no sound archive of a pickle brings about."""


def find_checkpoint(path: Path, trusted: bool) -> DetectorRef:
    """Look through a checkpoint, without running what is in it.

    Args:
        path: The file.
        trusted: Whether it may run code when it is loaded.

    Raises:
        KaleidoError: If it is no checkpoint of ultralytics, or its network finds no objects.
    """
    try:
        names = _named_in(path)
    except _UNREADABLE as error:
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
    return DetectorRef(
        str(path),
        "ultralytics",
        sha256_file(path),
        path,
        has_masks=task == "segment",
        task=task,
        trusted=trusted,
    )


def _named_in(path: Path) -> list[str]:
    """The classes and functions that a checkpoint names, in its order; nothing of it is run."""
    with ZipFile(path) as archive:
        pickles = [name for name in archive.namelist() if name.endswith("/data.pkl")]
        if len(pickles) != 1:
            raise ValueError(f"the archive holds {len(pickles)} pickles")
        with archive.open(pickles[0]) as file:
            codes = pickletools.genops(file)
            return [str(name).replace(" ", ".") for code, name, _ in codes if code.name == "GLOBAL"]


class CheckpointBackend:
    """A network of ultralytics with ultralytics' own preparation and reading of its output.

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
                "imgsz": trained_with.get("imgsz", _IMAGE_SIZE),
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
        """Find objects, see `DetectorBackend`; captions say nothing to it."""
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
        """What ultralytics' ``Results`` of one image holds; without any object it has no masks."""
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
    """The network, and the settings that it was trained with."""
    tasks = import_ultralytics("ultralytics.nn.tasks")
    try:
        # A copy of a plain name: some names ultralytics changes, fetches, or deletes when damaged.
        with tempfile.TemporaryDirectory() as folder:
            copy = Path(shutil.copyfile(path, Path(folder) / f"checkpoint{SUFFIX}"))
            if not trusted:
                _require_layers_only(copy, path, tasks)
            checkpoint, _ = tasks.torch_safe_load(copy, safe_only=not trusted)
        network = (checkpoint.get("ema") or checkpoint["model"]).float().eval()
        return network, dict(checkpoint.get("train_args") or {})
    except KaleidoError:
        raise
    except Exception as error:  # whatever a damaged or unfamiliar pickle brings about
        reason = error.__cause__ or error  # what torch said, of which ultralytics makes a page
        refused = re.search(r"GLOBAL (\S+)", str(reason))
        if refused and not trusted:
            raise _untrusted(path, refused[1]) from error
        raise KaleidoError(
            str(path),
            f"the checkpoint cannot be loaded ({type(reason).__name__}: {first_line(reason)}).",
            "Fetch or train it again.",
        ) from error


def _require_layers_only(copy: Path, path: Path, tasks: ModuleType) -> None:
    """Refuse what the restricted loader would let through, though it reaches for other files.

    Args:
        copy: What will be loaded.
        path: What an error calls it.
        tasks: ``ultralytics.nn.tasks``.

    Raises:
        KaleidoError: If the file names such a class, or there is no restricted loader.
    """
    if not (tasks.SAFE_LOAD and tasks._SafeLoad.SUPPORTED):
        raise KaleidoError(
            str(path),
            "ultralytics' restricted loader is not at work here.",
            "Update torch and ultralytics; before you import them, set ULTRALYTICS_SAFE_LOAD=true.",
        )
    for name in _named_in(copy):
        if name.rpartition(".")[2] in _REACHING:  # whichever module it is imported from
            raise _untrusted(path, name)


def _untrusted(path: Path, name: str) -> KaleidoError:
    return KaleidoError(
        str(path),
        f"besides layers it names {name}, and may do anything as it is read.",
        "If you know who made it, add --trust-weights; else use safetensors.",
    )

"""Object detection with masks by ultralytics YOLO, rebuilt from YAML and safetensors.

ultralytics' own checkpoints are pickles (see `pipelines.extract.detectors.checkpoint`). Here none
is read: the network is built from its YAML and the weights are copied in from safetensors.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from pipelines.core.errors import KaleidoError
from pipelines.core.temporary import process_folder
from pipelines.extract.detectors.base import Detections, distinct
from pipelines.extract.detectors.layers import check_architecture
from pipelines.models.hub import first_line, loading_error, read_config, require_finite
from pipelines.models.offline import without_network
from pipelines.models.safe_folder import require_safe_folder

if TYPE_CHECKING:
    import torch

WEIGHTS = "model.safetensors"
MAX_IMAGE_SIZE = 4096


class YoloBackend:
    """A YOLO segmentation network with an end-to-end head.

    The head gives one detection per object and class. Where it gives an object two classes, which
    shows as two boxes of a high IoU, only the more certain one is kept. The network is moved to the
    GPU if there is one.

    Args:
        folder: Holds ``model.yaml`` (the architecture), ``model.safetensors`` (the weights) and
            ``config.json`` with ``names`` (the classes) and ``image_size`` (the network's input).
        confidence: Detections of a lower score are dropped.
        max_detections: The most certain ones are kept.

    Raises:
        KaleidoError: If ultralytics is missing or the folder does not hold such a model.
    """

    def __init__(self, folder: Path, confidence: float, max_detections: int) -> None:
        self.confidence, self.max_detections = confidence, max_detections
        require_safe_folder(folder)
        try:
            config = read_config(folder, "a detector")
            architecture = (folder / "model.yaml").read_text("utf-8")
            weights = (folder / WEIGHTS).read_bytes()
            self.names: tuple[str, ...] = tuple(config["names"])
            self.image_size = int(config["image_size"])
            if not 0 < self.image_size <= MAX_IMAGE_SIZE:
                raise ValueError(f"image_size is {self.image_size}")
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise KaleidoError(
                str(folder),
                f"this is not a detector's folder ({type(error).__name__}: {error}).",
                "It needs config.json, model.yaml and model.safetensors.",
                code="bad-model",
            ) from error
        from pipelines.models.device import compute_device

        self._device = compute_device()
        self._model = _load(architecture, weights, folder).to(self._device)

    def predict(
        self, images: Sequence[np.ndarray], captions: Sequence[str] = ()
    ) -> list[Detections]:
        """Find objects; captions are not used.

        Each image is scaled by itself to the network's input and padded to a square.
        """
        import torch

        from pipelines.models.device import in_fp32
        from pipelines.models.pixels import fit_square

        if not images:
            return []
        with torch.inference_mode(), in_fp32():
            inputs = torch.stack([fit_square(image, self.image_size) for image in images])
            inputs = inputs.to(self._device, memory_format=torch.channels_last)
            (rows, prototypes), _ = self._model(inputs)
            return [
                self._read(row, prototype, image.shape[:2])
                for row, prototype, image in zip(rows.cpu(), prototypes.cpu(), images, strict=True)
            ]

    def _read(
        self, rows: torch.Tensor, prototypes: torch.Tensor, shape: tuple[int, int]
    ) -> Detections:
        """Turn (k, 6 + m) rows of box, score, class, mask coefficients into image coordinates."""
        import torch

        rows = rows[rows[:, 4] >= self.confidence]
        rows = rows[rows[:, 4].argsort(descending=True, stable=True)]
        rows = rows[distinct(rows[:, :4].numpy())][: self.max_detections]
        scale = max(shape) / self.image_size
        limit = torch.tensor([shape[1], shape[0]] * 2)
        boxes = (rows[:, :4] * scale).clamp(min=0.0).minimum(limit)
        return Detections(
            boxes=boxes.numpy(),
            scores=rows[:, 4].numpy(),
            labels=tuple(self.names[int(index)] for index in rows[:, 5]),
            masks=_decode_masks(rows[:, 6:], prototypes, boxes, shape).numpy(),
        )


def import_ultralytics(name: str) -> ModuleType:
    """Import a module of ultralytics so that it neither installs, calls home nor writes settings.

    Raises:
        KaleidoError: If ultralytics is not installed.
    """
    if "ultralytics" not in sys.modules:
        # It writes a settings file as it is imported: into a folder that vanishes with the process.
        os.environ.update(
            YOLO_CONFIG_DIR=str(process_folder()),
            YOLO_AUTOINSTALL="false",
            YOLO_OFFLINE="true",
            YOLO_VERBOSE="false",
            ULTRALYTICS_SAFE_LOAD="true",
        )
    pillow_open = Image.open
    try:
        module = importlib.import_module(name)
        importlib.import_module("ultralytics.utils").SETTINGS.update(sync=False)
    except ModuleNotFoundError as error:
        raise KaleidoError(
            "ultralytics",
            "it is not installed, and boxes and blobs are found by a YOLO network.",
            "Type: pip install 'kaleido-diffusion[yolo]'",
            code="not-installed",
        ) from error
    finally:
        # It replaces Pillow's `Image.open` by one that installs a package when a file is no image.
        Image.open = pillow_open
    return module


def build_model(architecture: dict[str, Any]) -> torch.nn.Module:
    """Build an untrained ultralytics ``SegmentationModel`` from the content of its YAML."""
    return import_ultralytics("ultralytics.nn.tasks").SegmentationModel(architecture, verbose=False)


def drop_training_parts(model: torch.nn.Module) -> torch.nn.Module:
    """Remove, in place, the heads that only training needs; their weights are not shipped."""
    model.end2end = True  # ultralytics keeps the one-to-many head otherwise
    model.model[-1].fuse()
    return model


def _load(architecture: str, weights: bytes, folder: Path) -> torch.nn.Module:
    import torch
    import yaml
    from safetensors.torch import load

    try:
        try:
            layers = check_architecture(yaml.safe_load(architecture))
        except (ValueError, yaml.YAMLError, RecursionError) as error:
            why = f"its network is not one that may be built ({first_line(error)})."
            name = str(folder / "model.yaml")
            raise KaleidoError(name, why, code="unsafe-model") from error
        with without_network(str(folder)):
            model = drop_training_parts(build_model(layers))
            model.load_state_dict({key: value.float() for key, value in load(weights).items()})
        require_finite(model, folder)
    except Exception as error:  # ultralytics raises whatever its layers raise
        raise loading_error(error, folder, "detector", "Fetch or train it again.") from error
    return model.eval().requires_grad_(False).to(memory_format=torch.channels_last)


def _decode_masks(
    coefficients: torch.Tensor,
    prototypes: torch.Tensor,
    boxes: torch.Tensor,
    shape: tuple[int, int],
) -> torch.Tensor:
    """Mask probabilities (k, h, w): combined prototypes, scaled to the image, cut at the box."""
    import torch
    from torch.nn import functional

    height, width = shape
    if not len(coefficients):
        return torch.zeros(0, height, width)
    logits = torch.einsum("km,mhw->khw", coefficients, prototypes)
    side = max(shape)
    logits = functional.interpolate(logits[None], (side, side), mode="bilinear")[0]
    x = torch.arange(width) + 0.5
    y = torch.arange(height)[:, None] + 0.5
    x1, y1, x2, y2 = boxes[:, :, None, None].unbind(1)
    inside = (x >= x1 - 1.0) & (x <= x2 + 1.0) & (y >= y1 - 1.0) & (y <= y2 + 1.0)
    return logits[:, :height, :width].sigmoid() * inside

"""SAM and SAM 2 of transformers: the mask of what a box is drawn around.

Segment Anything (arXiv 2304.02643), SAM 2 (arXiv 2408.00714).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pipelines.models.hub import load_model, model_identity, read_config

CLASSES = {"sam": "Sam", "sam2": "Sam2", "sam2_video": "Sam2"}
"""``model_type`` -> prefix of transformers' classes. SAM 2's public folders say ``sam2_video``."""


@dataclass(frozen=True)
class SamModel:
    """A SAM's folder.

    Attributes:
        folder: Where its files lie.
        family: ``Sam`` or ``Sam2``.
        identity: Hash of its weights and configuration.
    """

    folder: Path
    family: str
    identity: str


def sam_in(folder: Path) -> SamModel | None:
    """The SAM in a folder, or None if another model lies there.

    Raises:
        KaleidoError: If the folder lacks a configuration, or a SAM its weights as safetensors.
    """
    family = CLASSES.get(str(read_config(folder, "a segmenter").get("model_type")))
    return None if family is None else SamModel(folder, family, model_identity(folder))


class SamBackend:
    """A loaded SAM with its processor.

    Raises:
        KaleidoError: If the folder does not hold both.
    """

    def __init__(self, model: SamModel) -> None:
        needs = "It needs config.json, model.safetensors and a processor's configuration."
        loaded = load_model(
            model.folder, f"{model.family}Processor", f"{model.family}Model", "segmenter", needs
        )
        self._processor, self._model, self._device = loaded.processor, loaded.network, loaded.device

    def masks(self, image: np.ndarray, boxes: np.ndarray) -> np.ndarray:
        """Find the mask in each box; of several, the one that the network thinks the best.

        Args:
            image: uint8 (h, w, 3), RGB.
            boxes: Float (k, 4), x1, y1, x2, y2 in pixels; k is at least 1.

        Returns:
            float32 (k, h, w), 0 or 1.
        """
        import torch

        # A copy, since the pixels of a record are not to be written, and torch warns of that.
        inputs = self._processor(
            images=np.array(image), input_boxes=[boxes.tolist()], return_tensors="pt"
        ).to(self._device)
        names = ("original_sizes", "reshaped_input_sizes")
        sizes = {name: inputs.pop(name).cpu() for name in names if name in inputs}
        on_gpu = self._device.type == "cuda"
        with torch.inference_mode(), torch.autocast("cuda", torch.bfloat16, enabled=on_gpu):
            outputs = self._model(**inputs, multimask_output=True)
        best = outputs.iou_scores[0].argmax(1)
        each = torch.arange(len(best), device=best.device)
        chosen = outputs.pred_masks[0, each, best].float().cpu()
        (masks,) = self._processor.post_process_masks(chosen[None, :, None], **sizes)
        return np.asarray(masks[:, 0].numpy(), np.float32)

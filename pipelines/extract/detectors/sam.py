"""SAM and SAM 2 of transformers: the mask of the object in a box.

Segment Anything (arXiv 2304.02643), SAM 2 (arXiv 2408.00714).
"""

from __future__ import annotations

import numpy as np

from pipelines.extract.detectors.base import DetectorRef
from pipelines.models.hub import load_model


class SamBackend:
    """A loaded SAM with its processor.

    Args:
        ref: Of the family ``Sam`` or ``Sam2``.

    Raises:
        KaleidoError: If the folder does not hold both.
    """

    def __init__(self, ref: DetectorRef) -> None:
        needs = "It needs config.json, model.safetensors and a processor's configuration."
        loaded = load_model(
            ref.folder, f"{ref.family}Processor", f"{ref.family}Model", "segmenter", needs
        )
        self._processor, self._model, self._device = loaded.processor, loaded.network, loaded.device

    def masks(self, image: np.ndarray, boxes: np.ndarray) -> np.ndarray:
        """Find the mask in each box: of the candidates, the one with the highest predicted IoU.

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

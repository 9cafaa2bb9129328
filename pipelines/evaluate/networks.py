"""Feature networks by name: what pictures of any data are measured in."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pipelines.core.errors import KaleidoError
from pipelines.models.device import in_fp32
from pipelines.models.hub import load_model, model_folder, model_identity

BATCH = 64
"""Pictures that the network sees at once."""


class PretrainedFeatures:
    """A vision model of transformers: DINOv2, CLIP, SigLIP, or any other that gives one vector.

    Args:
        name: Its folder, or its name on the Hugging Face hub.

    Attributes:
        given: The folder, absolute, or the name on the hub.
        name: The folder's name, ``@``, and the first 8 hexadecimal digits of a hash of weights and
            configuration; it stands in the name of every metric on these features.
        reads_text: Whether captions have features in the same space, as CLIP's do.

    Raises:
        KaleidoError: If there is no such model, or it gives no vector of a picture.
    """

    def __init__(self, name: str) -> None:
        folder = model_folder(name)
        self.given = str(folder.resolve()) if Path(name).is_dir() else name
        with_text = (folder / "tokenizer_config.json").is_file()
        self.name = f"{_short(name)}@{model_identity(folder)[:8]}"
        self._model = load_model(
            folder,
            "AutoProcessor" if with_text else "AutoImageProcessor",
            "AutoModel",
            "feature network",
            "It needs config.json, preprocessor_config.json and model.safetensors of a vision "
            "model, such as facebook/dinov2-base or openai/clip-vit-large-patch14-336.",
        )
        self.reads_text = hasattr(self._model.network, "get_text_features")
        probe = np.zeros((1, 32, 32, 3), np.uint8)
        self.width = self(probe).shape[1]

    @torch.inference_mode()
    @in_fp32()
    def __call__(self, images: np.ndarray) -> np.ndarray:
        """Map pictures to features.

        Args:
            images: uint8 (n, height, width, 3); the model's own processor resizes them.

        Returns:
            float32 (n, width). CLIP's are projected, the others are what its kind pools.
        """
        rows = []
        for start in range(0, len(images), BATCH):
            batch = list(images[start : start + BATCH])
            inputs = self._model.processor(images=batch, return_tensors="pt").to(self._model.device)
            rows.append(self._array(image_vectors(self._model.network, **inputs)))
        return np.concatenate(rows)

    @torch.inference_mode()
    def texts(self, captions: Sequence[str]) -> np.ndarray:
        """Map captions to features, float32 (n, width); only where `reads_text`."""
        inputs = self._model.processor(
            text=list(captions), padding=True, truncation=True, return_tensors="pt"
        ).to(self._model.device)
        return self._array(_vector(self._model.network.get_text_features(**inputs)))

    def _array(self, vectors: torch.Tensor | None) -> np.ndarray:
        if vectors is None:
            raise KaleidoError(
                self.name,
                "it gives no vector of a whole picture.",
                "Use DINOv2, CLIP or SigLIP, say --features facebook/dinov2-base.",
            )
        return vectors.float().cpu().numpy()


def image_vectors(network: Any, **inputs: Any) -> torch.Tensor | None:
    """Map pictures to what a network of transformers pools, or projects if it reads text too.

    Args:
        network: Of transformers.
        inputs: What its processor makes of n pictures.

    Returns:
        (n, width), or None if it gives no vector of a whole picture.
    """
    if hasattr(network, "get_text_features"):
        return _vector(network.get_image_features(**inputs))
    return _vector(network(**inputs))


def _vector(found: Any) -> torch.Tensor | None:
    vector = found if torch.is_tensor(found) else getattr(found, "pooler_output", None)
    return None if vector is None else vector.flatten(1)


def _short(name: str) -> str:
    return Path(name).resolve().name if Path(name).is_dir() else name.rpartition("/")[2]

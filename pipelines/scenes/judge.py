"""Judge: a detector that scores pictures, independent of the one that labels training data.

A small fully convolutional network like CenterNet (1904.07850) with one heatmap per shape. Each
cell predicts the distances to the box's four sides, the colour and the texture; the background is
predicted from the whole picture. Architecture and training data differ from those of the detector
that extracts latents, and the judge was never trained on that detector's output.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from pipelines.core.errors import InputMissing, KaleidoError
from pipelines.evaluate.observations import FoundObject, Verdict
from pipelines.latents.blobs import Blobs
from pipelines.latents.matching import iou
from pipelines.latents.text import GRID, marker
from pipelines.models.device import compute_device, in_fp32
from pipelines.models.pixels import to_square_tensor
from pipelines.scenes.ellipses import with_ellipses

STRIDE = 4
_SAME = 0.7  # peaks whose boxes have at least this IoU are one object
_LEVELS = ((32, 4), (64, 4), (128, 2))  # channels and pooled side of each level in the features


@dataclass(frozen=True)
class JudgeConfig:
    """The configuration stored beside the weights.

    Attributes:
        shapes: Names of the heatmaps, in order; likewise `colours`, `textures`, `backgrounds`.
        size: Side of the network's input in pixels.
        threshold: Peaks below this score are not reported.
        features: Number of dimensions of `Judge.features`.
        ceiling: The judge's accuracy on held-out renders by name, in [0, 1].
    """

    shapes: tuple[str, ...]
    colours: tuple[str, ...]
    textures: tuple[str, ...]
    backgrounds: tuple[str, ...]
    size: int = 64
    threshold: float = 0.35
    features: int = 64
    ceiling: Mapping[str, float] = field(default_factory=dict)


class _Residual(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.body = nn.Sequential(*_conv(width, width), *_conv(width, width)[:2])

    def forward(self, x: Tensor) -> Tensor:
        return functional.relu(x + self.body(x))


def _conv(inside: int, outside: int, stride: int = 1) -> list[nn.Module]:
    return [
        nn.Conv2d(inside, outside, 3, stride, 1, bias=False),
        nn.BatchNorm2d(outside),
        nn.ReLU(),
    ]


class JudgeNetwork(nn.Module):
    """The network: three levels down to 1/8, one back up to 1/4, then the heads."""

    def __init__(self, config: JudgeConfig) -> None:
        super().__init__()
        low, mid, high = (channels for channels, _ in _LEVELS)
        self.low = nn.Sequential(*_conv(3, low, 2), _Residual(low))
        self.mid = nn.Sequential(*_conv(low, mid, 2), _Residual(mid))
        self.high = nn.Sequential(*_conv(mid, high, 2), _Residual(high))
        self.lateral = nn.Conv2d(high, mid, 1)
        self.fuse = nn.Sequential(_Residual(mid), *_conv(mid, mid))
        parts = (len(config.shapes), 4, len(config.colours), len(config.textures))
        self.parts = parts
        self.heads = nn.Conv2d(mid, sum(parts), 1)
        self.background = nn.Linear(high, len(config.backgrounds))
        nn.init.constant_(self.heads.bias[: parts[0]], -2.2)  # the focal loss's prior, p = 0.1
        raw = sum(channels * side**2 for channels, side in _LEVELS)
        self.register_buffer("feature_mean", torch.zeros(raw))
        self.register_buffer("feature_basis", torch.zeros(raw, config.features))

    def levels(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the maps at 1/2, 1/4 (after fusion) and 1/8 of the input's side."""
        low = self.low(x)
        mid = self.mid(low)
        high = self.high(mid)
        up = functional.interpolate(self.lateral(high), scale_factor=2.0, mode="nearest")
        return low, self.fuse(mid + up), high

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Compute the heads' raw outputs.

        Args:
            x: (n, 3, size, size) in [-1, 1].

        Returns:
            ``heat`` (n, shapes, s, s) logits, ``box`` (n, 4, s, s) distances in pixels from a
            cell's centre to the left, top, right and bottom, ``colour`` and ``texture`` logits by
            cell, s = size / STRIDE, and ``background`` (n, backgrounds) logits.
        """
        return self.outputs(self.levels(x))

    def outputs(self, levels: tuple[Tensor, Tensor, Tensor]) -> dict[str, Tensor]:
        """Compute the heads' raw outputs from the levels, as `forward` does."""
        _, mid, high = levels
        heat, box, colour, texture = self.heads(mid).split(self.parts, dim=1)
        return {
            "heat": heat,
            "box": functional.softplus(box) * STRIDE,
            "colour": colour,
            "texture": texture,
            "background": self.background(high.mean((2, 3))),
        }

    def pooled(self, levels: tuple[Tensor, Tensor, Tensor]) -> Tensor:
        """Pool every level to a coarse grid and concatenate: (n, 2048)."""
        pooled = [
            functional.adaptive_avg_pool2d(level, side).flatten(1)
            for level, (_, side) in zip(levels, _LEVELS, strict=True)
        ]
        return torch.cat(pooled, dim=1)

    def projected(self, levels: tuple[Tensor, Tensor, Tensor]) -> Tensor:
        """Compute `Judge.features` from the levels: (n, features)."""
        return (self.pooled(levels) - self.feature_mean) @ self.feature_basis


class Judge:
    """The network and its class names, ready for inference.

    Attributes:
        config: Names, threshold and ceiling.
        name: ``scenes-judge@`` and the first 8 hexadecimal digits of the weights' SHA-256. It is
            part of the name of every metric that uses its features.
    """

    def __init__(self, network: JudgeNetwork, config: JudgeConfig, digest: str = "unsaved") -> None:
        self._device = compute_device()
        self.network = network.eval().requires_grad_(False).to(self._device)
        self.config = config
        self.name = f"scenes-judge@{digest[:8]}"

    @classmethod
    def load(cls, folder: Path | str) -> Judge:
        """Load what `save_judge` wrote.

        Raises:
            InputMissing: If the folder holds no judge.
            KaleidoError: If the config and the weights do not belong together.
        """
        from safetensors.torch import load

        folder = Path(folder)
        config_file, weights_file = folder / "config.json", folder / "model.safetensors"
        if not config_file.is_file() or not weights_file.is_file():
            raise InputMissing(
                str(folder),
                "the folder has no judge (config.json and model.safetensors).",
                "Train one with `python -m recipes.train_judge --out FOLDER`.",
            )
        try:
            values: dict[str, Any] = json.loads(config_file.read_text("utf-8"))
            values |= {k: tuple(v) for k, v in values.items() if isinstance(v, list)}
            config = JudgeConfig(**values)
            data = weights_file.read_bytes()
            network = JudgeNetwork(config)
            network.load_state_dict(load(data))
        except Exception as error:  # json, safetensors and torch raise many types
            raise KaleidoError(
                str(folder),
                f"the judge cannot be loaded: {error}",
                "Train it again.",
                code="bad-model",
            ) from error
        return cls(network, config, hashlib.sha256(data).hexdigest())

    def _batches(self, images: np.ndarray, batch: int = 64) -> Iterator[Tensor]:
        images = np.asarray(images)
        if images.ndim != 4 or images.shape[-1] != 3 or images.dtype != np.uint8:
            raise ValueError(f"expected uint8 (n, height, width, 3), got {images.shape}")
        for start in range(0, len(images), batch):
            yield to_square_tensor(images[start : start + batch], self.config.size).to(self._device)

    def __call__(self, images: np.ndarray) -> list[Verdict]:
        """Detect the objects and the background of images.

        Args:
            images: uint8 (n, height, width, 3), resized to the network's input size.

        Returns:
            One verdict per image.
        """
        return self.inspect(images)[1]

    @torch.inference_mode()
    @in_fp32()
    def inspect(
        self, images: np.ndarray, texts: Sequence[str] = ()
    ) -> tuple[np.ndarray, list[Verdict]]:
        """Compute features and verdicts of images in one pass through the network.

        Args:
            images: As for `__call__`.
            texts: Their z. If any has blobs, an ellipse is fitted to each object found.
        """
        rows, verdicts = [torch.zeros(0, self.config.features)], []
        for x in self._batches(images):
            levels = self.network.levels(x)
            rows.append(self.network.projected(levels).cpu())
            verdicts += _decode(self.network.outputs(levels), self.config)
        if any(marker(Blobs.kind) in text for text in texts):
            verdicts = with_ellipses(images, verdicts)
        return _features(rows), verdicts

    @torch.inference_mode()
    @in_fp32()
    def features(self, images: np.ndarray) -> np.ndarray:
        """Map images into the feature space of the fidelity and diversity metrics.

        All three levels of the network are pooled to coarse grids (4x4, 4x4, 2x2), which keeps
        positions, then centred and projected on the leading principal components of training
        renders, so that unrelated scenes have a cosine near 0. There are few components, so that
        the covariance of a few hundred images has full rank.

        Args:
            images: As for `__call__`.

        Returns:
            float32 (n, config.features).
        """
        rows = [self.network.projected(self.network.levels(x)).cpu() for x in self._batches(images)]
        return _features([torch.zeros(0, self.config.features), *rows])


def _features(rows: Sequence[Tensor]) -> np.ndarray:
    return torch.cat(list(rows)).numpy().astype(np.float32)


def save_judge(folder: Path, network: JudgeNetwork, config: JudgeConfig) -> Judge:
    """Write config.json and model.safetensors (fp16); return the judge with the saved weights."""
    from dataclasses import asdict

    from safetensors.torch import save

    from pipelines.core.files import atomic_write

    folder.mkdir(parents=True, exist_ok=True)
    state: dict[str, Any] = {
        k: v.detach().half().contiguous() if v.is_floating_point() else v.detach()
        for k, v in network.state_dict().items()
    }
    atomic_write(folder / "model.safetensors", save(state))
    atomic_write(
        folder / "config.json", json.dumps(asdict(config), indent=1, sort_keys=True).encode()
    )
    return Judge.load(folder)


def _decode(outputs: Mapping[str, Tensor], config: JudgeConfig) -> list[Verdict]:
    """Decode the heads of several images: every peak of a heatmap is an object."""
    heat = outputs["heat"].amax(1)
    highest = functional.max_pool2d(heat, 3, stride=1, padding=1)
    least = float(np.log(config.threshold / (1.0 - config.threshold)))
    image, y, x = torch.nonzero((heat == highest) & (heat > least), as_tuple=True)
    surest = heat[image, y, x].argsort(descending=True, stable=True)
    image, y, x = image[surest], y[surest], x[surest]
    kept: list[list[FoundObject]] = [[] for _ in heat]
    for owner, found in zip(image.tolist(), _found(outputs, (image, y, x), config), strict=True):
        if all(iou(found.box, other.box) < _SAME for other in kept[owner]):
            kept[owner].append(found)
    backgrounds = outputs["background"].argmax(1).tolist()
    return [
        Verdict(tuple(objects), config.backgrounds[background])
        for objects, background in zip(kept, backgrounds, strict=True)
    ]


def _found(
    outputs: Mapping[str, Tensor], cells: tuple[Tensor, Tensor, Tensor], config: JudgeConfig
) -> Iterator[FoundObject]:
    """Decode the objects at the cells (image, row, column), each (k,)."""
    image, y, x = cells
    heads = {k: outputs[k][image, :, y, x] for k in ("heat", "box", "colour", "texture")}
    centres = (torch.stack([x, y], dim=1) + 0.5) * STRIDE
    corners = torch.cat([centres - heads["box"][:, :2], centres + heads["box"][:, 2:]], dim=1)
    boxes = (corners * GRID / config.size).round().clip(0, GRID).int().tolist()
    scores = heads["heat"].amax(1).sigmoid().tolist()
    names = (
        [values[i] for i in heads[head].argmax(1).tolist()]
        for head, values in (
            ("heat", config.shapes),
            ("colour", config.colours),
            ("texture", config.textures),
        )
    )
    for shape, colour, texture, box, score in zip(*names, boxes, scores, strict=True):
        attributes = {"colour": colour, "texture": texture}
        yield FoundObject(shape, tuple(box), score, attributes)

"""A tokenizer's weights, alone in a folder or inside a larger checkpoint."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from pipelines.models.hub import read_config

if TYPE_CHECKING:
    import torch

INSIDE = "vqmodel."
"""Ends the prefix of the names of a VQ model's weights inside a larger checkpoint."""

INDEX = "model.safetensors.index.json"

WHAT = "a visual tokenizer"
"""What errors call such a model."""


def weight_files(folder: Path) -> list[Path]:
    """Return the safetensors files with a tokenizer's weights, without those of a larger model."""
    if (folder / INDEX).is_file():
        places = read_config(folder, WHAT, INDEX).get("weight_map", {})
        inside = {file for name, file in places.items() if INSIDE in name}
        return [folder / name for name in sorted(inside or set(places.values()))]
    # diffusers may keep a second copy of other precision beside its file.
    usual = [folder / f"{name}.safetensors" for name in ("model", "diffusion_pytorch_model")]
    return [path for path in usual if path.is_file()] or sorted(folder.glob("*.safetensors"))


def read_weights(folder: Path) -> dict[str, torch.Tensor]:
    """Read a tokenizer's weights, without those of a larger checkpoint around it."""
    from safetensors import safe_open

    weights: dict[str, torch.Tensor] = {}
    for path in weight_files(folder):
        with safe_open(path, framework="pt") as file:
            names = list(file.keys())
            inside = [name for name in names if INSIDE in name]
            for name in inside or names:
                weights[name.rpartition(INSIDE)[2]] = file.get_tensor(name)
    return weights

"""What a base reads of captions: which base computes it, and its form in a shard."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from safetensors.torch import load, save

from pipelines.bases.base import Base, load_base, precision_of
from pipelines.bases.conditions import moved
from pipelines.bases.family import Condition
from pipelines.bases.folder import BaseFolder
from pipelines.latents.base_states import BaseStates

_ROW = "row:"  # before the name of a part that is a list of rows of different lengths


@dataclass(frozen=True)
class TextEncoders:
    """The text encoders of a base that is chosen but not loaded.

    Attributes:
        folder: The base.
        dtype: As of `load_base`.
    """

    folder: BaseFolder
    dtype: str

    @property
    def options(self) -> dict[str, Any]:
        """What the states of a caption depend on: not the denoiser, so finetuned bases share."""
        family = self.folder.family
        return {
            "family": family.name,
            "encoders": self.folder.identity_of(self.folder.text_parts),
            "tokens": family.text_limit,
            "dtype": str(precision_of(self.dtype)).removeprefix("torch."),
        }

    def load(self) -> Base:
        """Load them, without denoiser and autoencoder.

        Raises:
            KaleidoError: As `load_base`.
        """
        return load_base(self.folder.name, self.dtype, only="text")


@torch.no_grad()
def states_of(base: Base, caption: str) -> BaseStates:
    """Encode a caption, alone, so that its states do not depend on others."""
    parts = {}
    for name, value in base.family.encode(base.pipe, [caption]).items():
        tensor = value[0] if isinstance(value, list) else value
        parts[f"{_ROW}{name}" if isinstance(value, list) else name] = tensor.cpu().contiguous()
    return BaseStates(save(parts))


@torch.no_grad()
def null_of(encoders: TextEncoders) -> Condition:
    """Compute the null condition of a base whose text encoders are not kept; on the CPU."""
    base = encoders.load()
    return moved(base.family.null(base.pipe, None), torch.device("cpu"))


def condition_of(states: BaseStates) -> Condition:
    """Return the condition that `states_of` stored, one row, on the CPU."""
    return {
        name.removeprefix(_ROW): [value] if name.startswith(_ROW) else value
        for name, value in load(states.data).items()
    }

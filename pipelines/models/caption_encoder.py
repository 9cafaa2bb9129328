"""The encoder whose states of captions are computed once: that of a pretrained or trained prior."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from pipelines.models.hub import model_folder, model_identity
from pipelines.models.prior import Prior
from pipelines.models.prior_metadata import read_prior_metadata
from pipelines.models.t5.load import load_t5
from pipelines.workspace.settings import PriorSettings


@dataclass(frozen=True)
class CaptionEncoder:
    """An encoder of captions that is chosen but not loaded.

    Attributes:
        identity: Hash of the model that it is a part of.
        folder: Holds that model.
        settings: Those of the prior, for a pretrained one; None for a trained prior.
        max_caption_tokens: Longer captions are cut.
    """

    identity: str
    folder: Path
    settings: PriorSettings | None
    max_caption_tokens: int

    @property
    def options(self) -> dict[str, Any]:
        """What the states of a caption depend on."""
        return encoder_options(self.identity, self.max_caption_tokens)

    def load(self) -> Prior:
        """Load the model, with its encoder frozen.

        Raises:
            KaleidoError: If it is damaged or unsafe.
        """
        if self.settings is not None:
            from pipelines.models.new_prior import load_pretrained

            return load_pretrained(replace(self.settings, z_kinds=(), lora_rank=0), ())
        prior = Prior.load(self.folder)
        prior.encoder_frozen = True
        return prior


def encoder_options(identity: str, max_caption_tokens: int) -> dict[str, Any]:
    """Return what the states of a caption depend on.

    Args:
        identity: Hash of the model that the encoder is a part of.
        max_caption_tokens: Longer captions are cut.
    """
    return {"encoder": identity, "max_caption_tokens": max_caption_tokens}


def chosen_encoder(settings: PriorSettings, trained: Path) -> CaptionEncoder:
    """Return the encoder of ``prior.pretrained``, or without one that of the trained prior.

    Args:
        settings: Of the prior.
        trained: The folder of the workspace's prior.

    Raises:
        InputMissing: If there is neither.
        KaleidoError: If a model cannot be used.
    """
    if settings.pretrained:
        folder = model_folder(settings.pretrained)
        return CaptionEncoder(model_identity(folder), folder, settings, settings.max_caption_tokens)
    metadata, _ = read_prior_metadata(trained)
    identity = metadata.get("encoder") or metadata["identity"]
    return CaptionEncoder(identity, trained, None, metadata["max_caption_tokens"])


def drop_encoder(prior: Prior) -> None:
    """Free the memory of a frozen encoder, whose states are read from elsewhere."""
    prior.model.encoder.block = nn.ModuleList()


def restore_encoder(prior: Prior, folder: Path) -> None:
    """Take back the encoder that `drop_encoder` freed, from the model that it came from."""
    with torch.device("cpu"):
        source, _ = load_t5(folder)
    prior.model.encoder.block = source.encoder.block.to(prior.model.device)

"""Loading of networks that diffusers saved."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

import torch
from diffusers import ModelMixin

from pipelines.models.hub import loading_error
from pipelines.models.metadata import other_version
from pipelines.models.offline import without_network

NetworkT = TypeVar("NetworkT", bound=ModelMixin)


def load_network(cls: type[NetworkT], folder: Path) -> NetworkT:
    """Load a network in fp32 from the folder that ``save_pretrained`` wrote.

    Call `require_safe_folder` first.

    Args:
        cls: The network's class.
        folder: Holds config.json and safetensors.

    Raises:
        KaleidoError: If the folder is incomplete or damaged, or its weights are not exactly those
            of the class.
    """
    try:
        with without_network(str(folder)):
            network, info = cls.from_pretrained(
                folder,
                torch_dtype=torch.float32,
                use_safetensors=True,
                local_files_only=True,
                output_loading_info=True,
            )
    except ValueError as error:  # a weight of the same name has another shape
        raise other_version(folder) from error
    except Exception as error:  # diffusers raises errors of many libraries
        needs = "It needs config.json and safetensors, as training writes them. Train it again."
        raise loading_error(error, folder, "network", needs) from error
    if info["missing_keys"] or info["unexpected_keys"]:
        raise other_version(folder)
    network.register_to_config(_name_or_path="")  # a saved model must not name local folders
    return network

"""Models that others have trained, by folder or by name on the Hugging Face hub."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipelines.core.errors import KaleidoError
from pipelines.core.files import sha256_file
from pipelines.core.fingerprint import fingerprint

if TYPE_CHECKING:
    import torch

FILES = ("*.json", "*.safetensors", "*.txt", "*.model", "*.jinja")
"""What is fetched and what counts of a model; pickles and code do not."""

GGUF = ".gguf"
"""Ending of a file that holds a whole language model, as llama.cpp writes it."""

PICKLES = (".pt", ".pth", ".bin", ".ckpt", ".pkl")
"""Suffixes of files that may run code as they are read."""


@dataclass(frozen=True)
class Loaded:
    """A processor and a network, ready for inference, and where the network is."""

    processor: Any
    network: Any
    device: torch.device


def model_folder(name: str) -> Path:
    """Return a model's folder, or its GGUF file; a name on the hub is fetched first.

    Raises:
        KaleidoError: If there is no such folder or GGUF file and the hub does not give it, or it is
            another file.
    """
    folder = Path(name)
    if folder.is_dir() or (folder.suffix == GGUF and folder.is_file()):
        return folder
    if folder.is_file():
        kind = "a pickle, and pickles are not read" if folder.suffix in PICKLES else "a file"
        raise KaleidoError(
            name, f"this is {kind}.", "Name a folder with config.json and model.safetensors."
        )
    if folder.is_absolute() or name.startswith("."):
        raise KaleidoError(name, "there is no such folder.", "Check the path.")
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(name, allow_patterns=list(FILES)))
    except Exception as error:  # the hub's client raises errors of many libraries
        raise KaleidoError(
            name,
            f"there is no such folder, and the hub does not give it ({first_line(error)}).",
            "Check the name and the connection.",
        ) from error


def model_identity(folder: Path) -> str:
    """Hash a model's weights and configuration, or its GGUF file.

    Raises:
        KaleidoError: If it has no weights as safetensors.
    """
    if folder.suffix == GGUF:
        return sha256_file(folder)
    parts = sorted(path for pattern in FILES for path in folder.glob(pattern))
    if not any(path.suffix == ".safetensors" for path in parts):
        raise KaleidoError(
            str(folder),
            "it has no weights as safetensors, and pickles are not read.",
            "Save the model again with save_pretrained.",
        )
    return fingerprint([[path.name, sha256_file(path)] for path in parts])


def read_config(folder: Path, what: str, name: str = "config.json") -> dict[str, Any]:
    """Read a configuration in a model's folder.

    Args:
        folder: What ``save_pretrained`` wrote.
        what: What an error calls such a model, with its article.
        name: The file's name; its content is a JSON object.

    Raises:
        KaleidoError: If there is no such file, or it holds something else.
    """
    try:
        config = json.loads((folder / name).read_text("utf-8"))
        if not isinstance(config, dict):
            raise TypeError(f"{name} holds no JSON object")
    except (OSError, ValueError, TypeError) as error:
        raise KaleidoError(
            str(folder),
            f"this is not {what}'s folder ({type(error).__name__}: {error}).",
            "It needs config.json and model.safetensors, as save_pretrained writes them.",
        ) from error
    return config


def architecture_of(config: Mapping[str, Any]) -> str:
    """The class of transformers that a ``config.json`` was written by; empty if it names none."""
    names = config.get("architectures")
    return str(names[0]) if isinstance(names, list) and names else ""


def load_model(
    folder: Path, processor: str, network: str, what: str, needs: str, gpu_dtype: str = ""
) -> Loaded:
    """Load a processor and a network for inference, onto the GPU if there is one.

    Args:
        folder: What ``save_pretrained`` wrote of both, or a GGUF file; no code of its own is run.
        processor: Name of transformers' class, an ``Auto…`` one.
        network: Likewise.
        what: What an error calls the network.
        needs: What an error says that the folder needs.
        gpu_dtype: Of the weights on a GPU, with fp32 elsewhere; empty takes transformers' choice.

    Raises:
        KaleidoError: If the folder does not hold both.
    """
    import transformers

    from pipelines.models.device import compute_device
    from pipelines.models.saved import without_bars

    device = compute_device()
    options: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
    weights: dict[str, Any] = {"use_safetensors": True}
    place = folder
    if folder.suffix == GGUF:
        place, weights = folder.parent, {}
        options["gguf_file"] = folder.name
    dtype = {"dtype": gpu_dtype if device.type == "cuda" else "float32"} if gpu_dtype else {}
    try:
        reader = getattr(transformers, processor).from_pretrained(place, **options)
        with without_bars():
            model = getattr(transformers, network).from_pretrained(
                place, **weights, **options, **dtype
            )
    except Exception as error:  # transformers raises whatever its many classes raise
        raise KaleidoError(
            str(folder),
            f"the {what} cannot be loaded ({type(error).__name__}: {first_line(error)}).",
            needs,
        ) from error
    return Loaded(reader, model.eval().requires_grad_(False).to(device), device)


def first_line(error: BaseException) -> str:
    """The first line of what a library says, without its full stop."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0].rstrip(".")

"""Models of transformers, by folder or by name on the Hugging Face hub."""

from __future__ import annotations

from pathlib import Path

from pipelines.core.errors import KaleidoError
from pipelines.core.files import sha256_file
from pipelines.core.fingerprint import fingerprint

FILES = ("*.json", "*.safetensors", "*.txt", "*.model", "*.jinja")
"""What is fetched and what counts of a model; pickles and code do not."""


def model_folder(name: str) -> Path:
    """Return a model's folder; a name on the hub is fetched first.

    Raises:
        KaleidoError: If there is no such folder and the hub does not give it.
    """
    folder = Path(name)
    if folder.is_dir():
        return folder
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
    """Hash a model's weights and configuration.

    Raises:
        KaleidoError: If it has no weights as safetensors.
    """
    parts = sorted(path for pattern in FILES for path in folder.glob(pattern))
    if not any(path.suffix == ".safetensors" for path in parts):
        raise KaleidoError(
            str(folder),
            "it has no weights as safetensors, and pickles are not read.",
            "Save the model again with save_pretrained.",
        )
    return fingerprint([[path.name, sha256_file(path)] for path in parts])


def first_line(error: Exception) -> str:
    """The first line of what a library says, without its full stop."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0].rstrip(".")

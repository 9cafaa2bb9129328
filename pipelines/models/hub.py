"""Models by folder, by GGUF file, or by name on the Hugging Face hub."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipelines.core.errors import KaleidoError
from pipelines.core.files import sha256_file
from pipelines.core.fingerprint import fingerprint
from pipelines.core.memory import is_out_of_memory, out_of_memory
from pipelines.models.gguf import require_safe_gguf
from pipelines.models.offline import without_network
from pipelines.models.safe_folder import PICKLES, read_json, require_safe_folder

if TYPE_CHECKING:
    import torch

FILES = ("*.json", "*.safetensors", "*.txt", "*.model", "*.jinja")
"""The files of a model that are fetched and that its identity covers: no pickles, no code."""

GGUF = ".gguf"
"""Suffix of a file that holds a whole language model, as llama.cpp writes it."""


@dataclass(frozen=True)
class Loaded:
    """A processor and a network, ready for inference, and the device of the network."""

    processor: Any
    network: Any
    device: torch.device


def model_folder(name: str, suffixes: Sequence[str] = ()) -> Path:
    """Return a model's folder; a model on the hub is fetched first.

    Args:
        name: A folder, or a name on the hub.
        suffixes: Of single files that may be named instead of a folder.

    Raises:
        KaleidoError: If there is no such folder or file and the hub does not have it, or it is a
            file of another kind.
    """
    path = Path(name)
    if path.is_dir() or (path.suffix in suffixes and path.is_file()):
        return path
    if path.is_file():
        kind = "a pickle, and pickles are not read" if path.suffix in PICKLES else "a file"
        hint = "Name a folder with config.json and model.safetensors."
        raise KaleidoError(name, f"this is {kind}.", hint, code="bad-option")
    if path.suffix in (*suffixes, *PICKLES, ".safetensors"):
        raise KaleidoError(name, "there is no such file.", _how_to_get(path), code="bad-option")
    if path.is_absolute() or name.startswith(".") or path.exists():
        raise KaleidoError(name, "there is no such folder.", "Check the path.", code="bad-option")
    return download(name, FILES)


def download(name: str, patterns: Sequence[str], without: Sequence[str] = ()) -> Path:
    """Fetch files of a model on the hub, unless they are there already.

    Args:
        name: Of the model.
        patterns: Files to fetch, such as ``*.json``.
        without: Files among them to leave out.

    Returns:
        The folder in the hub's cache.

    Raises:
        KaleidoError: If the hub does not give it.
    """
    from huggingface_hub import snapshot_download

    try:
        return Path(
            snapshot_download(name, allow_patterns=list(patterns), ignore_patterns=list(without))
        )
    except Exception as error:  # the hub's client raises errors of many libraries
        raise KaleidoError(
            name,
            f"there is no such folder, and the hub does not give it ({first_line(error)}).",
            "Check the name and the connection.",
            code="bad-option",
        ) from error


def _how_to_get(path: Path) -> str:
    if re.fullmatch(r"(yolo|rtdetr)[\w.-]*\.pt", path.name):
        return (
            "Kaleido does not download .pt files. To have ultralytics put it into the current "
            f"folder, run: python -c \"from ultralytics import YOLO; YOLO('{path.name}')\""
        )
    return "Check the path."


def model_identity(path: Path) -> str:
    """Check a model's folder or GGUF file, and hash its weights and configuration.

    Weights in subfolders count where an index file names them.

    Raises:
        KaleidoError: If it has no weights as safetensors, or is damaged or unsafe.
    """
    if path.suffix == GGUF:
        require_safe_gguf(path)
        return sha256_file(path)
    require_safe_folder(path)
    parts = sorted(part for pattern in FILES for part in path.glob(pattern))
    if not any(part.suffix == ".safetensors" for part in (*parts, *_indexed(path))):
        raise KaleidoError(
            str(path),
            "it has no weights as safetensors, and pickles are not read.",
            "Save the model again with save_pretrained.",
            code="bad-model",
        )
    hashed = [[part.name, sha256_file(part)] for part in parts]
    below = [[part.relative_to(path).as_posix(), sha256_file(part)] for part in _indexed(path)]
    return fingerprint(hashed + below)


def _indexed(folder: Path) -> list[Path]:
    """Weights in subfolders that the folder's index files name."""
    names = {
        name
        for index in folder.glob("*.index.json")
        for name in read_json(index)["weight_map"].values()
    }
    return [folder / name for name in sorted(names) if (folder / name).parent != folder]


def read_config(folder: Path, what: str, name: str = "config.json") -> dict[str, Any]:
    """Read a configuration in a model's folder.

    Args:
        folder: A folder that ``save_pretrained`` wrote.
        what: What an error calls such a model, with its article.
        name: The file's name; its content is a JSON object.

    Raises:
        KaleidoError: If there is no such file, or it holds something else.
    """
    path = folder / name
    if not path.is_file():
        raise KaleidoError(
            str(folder),
            f"this is not {what}'s folder: it has no {name}.",
            "It needs config.json and model.safetensors, as save_pretrained writes them.",
            code="bad-model",
        )
    config = read_json(path)
    if not isinstance(config, dict):
        hint = "It needs the JSON object that save_pretrained writes."
        raise KaleidoError(str(path), f"it holds no {what} but a list.", hint, code="bad-model")
    return config


def architecture_of(config: Mapping[str, Any]) -> str:
    """Return the transformers class that a ``config.json`` names; empty if it names none."""
    names = config.get("architectures")
    return str(names[0]) if isinstance(names, list) and names else ""


def load_model(
    path: Path, processor: str, network: str, what: str, needs: str, gpu_dtype: str = ""
) -> Loaded:
    """Load a processor and a network for inference, onto the GPU if there is one.

    No code of the model is run, no pickle is read, and the network is not used.

    Args:
        path: A folder that ``save_pretrained`` wrote of both, or a GGUF file.
        processor: Name of the class in transformers, an ``Auto…`` one.
        network: Likewise.
        what: What an error calls the network.
        needs: What an error says that the folder needs.
        gpu_dtype: Precision of the weights on a GPU, with fp32 elsewhere; empty takes
            transformers' choice.

    Raises:
        KaleidoError: If the folder does not hold both, is damaged or unsafe, or memory runs out.
    """
    import transformers

    from pipelines.models.device import compute_device
    from pipelines.models.saved import without_bars

    device = compute_device()
    options: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
    weights: dict[str, Any] = {"use_safetensors": True}
    place = path
    if path.suffix == GGUF:
        require_safe_gguf(path)
        place, weights = path.parent, {}
        options["gguf_file"] = path.name
    else:
        require_safe_folder(path)
    dtype = {"dtype": gpu_dtype if device.type == "cuda" else "float32"} if gpu_dtype else {}
    try:
        with without_network(str(path)), without_bars():
            reader = getattr(transformers, processor).from_pretrained(place, **options)
            model = getattr(transformers, network).from_pretrained(
                place, **weights, **options, **dtype
            )
            model = model.eval().requires_grad_(False).to(device)
        require_finite(model, path)
    except Exception as error:  # transformers raises whatever its many classes raise
        raise loading_error(error, path, what, needs) from error
    return Loaded(reader, model, device)


def require_finite(network: torch.nn.Module, path: Path) -> None:
    """Refuse a network with weights that are infinite or not a number.

    Its results would be recorded as failures, or as empty ones, of records that are sound.

    Raises:
        KaleidoError: ``bad-model``, with the name of the weights.
    """
    for name, value in network.named_parameters():
        if (
            value.dtype.is_floating_point
            and value.dtype.itemsize > 1
            and not value.isfinite().all()
        ):
            why = f"its weights {name} hold values that are not finite numbers."
            raise KaleidoError(str(path), why, "Fetch or train it again.", code="bad-model")


def loading_error(error: Exception, path: Path, what: str, needs: str) -> KaleidoError:
    """Turn an error that a library raised while it loaded a model into one with a code.

    Args:
        error: The library's.
        path: The model.
        what: What the error calls the model: "detector".
        needs: What such a model's folder needs.
    """
    if isinstance(error, KaleidoError):
        return error
    if is_out_of_memory(error):
        return out_of_memory(str(path), "Use a smaller model, or fewer --workers.")
    if isinstance(error, ImportError):
        why = f"the {what} needs a package that is not installed ({first_line(error)})."
        return KaleidoError(str(path), why, code="not-installed")
    why = f"the {what} cannot be loaded ({type(error).__name__}: {first_line(error)})."
    return KaleidoError(str(path), why, needs, code="bad-model")


def first_line(error: BaseException) -> str:
    """Return the first line of a library's message, without its full stop."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0].rstrip(".")

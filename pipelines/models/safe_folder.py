"""Checks of a model's folder before a library opens it.

The libraries trust a folder more than Kaleido does: a JSON file may name code to import, an index
may name pickles, and a file that was cut makes them fail in their own words.
"""

from __future__ import annotations

import json
import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pipelines.core.errors import KaleidoError
from pipelines.core.inputs import LFS_POINTER

PICKLES = (".pt", ".pth", ".bin", ".ckpt", ".pkl")
"""Suffixes of files that may run code as they are read."""

MAX_TEXT = 100 * 2**20
"""Largest JSON or text file in bytes; the largest tokenizers in use take a third."""

MAX_LAYERS = 1000
"""Most layers that a configuration may ask for; a network is built before its weights are read."""

MAX_COUNT = 1_000_000
"""Most labels, heads, queries and so on: for each label, transformers makes a text."""

_MAX_HEADER = 100 * 2**20  # of safetensors, the limit of the format's own library
_CODE = ("auto_map", "audio_tokenizer", "audio_tokenizer_name_or_path", "base_model_name_or_path")
"""JSON keys that make transformers import a file of the folder or load another model by name."""

_INDEX = re.compile(r"\.index(\.\w+)?\.json$")  # that of a variant: .index.fp16.json
_COUNT = re.compile(r"_?(num|n)_(?!.*param)\w+")
_LAYERS = re.compile(r"(num|n)_(\w+_)?(layers?|blocks)|(\w+_)?(layers|depths?|block_count)")


def require_safe_folder(folder: Path) -> None:
    """Refuse a model's folder that is damaged or that asks for more than its weights.

    Every JSON file is parsed, of safetensors only the header is read. Call this before the folder
    is given to transformers, diffusers or tokenizers.

    Args:
        folder: The folder; its subfolders are checked too.

    Raises:
        KaleidoError: ``unsafe-model`` if a file names code, another model or pickles, or lies
            outside the folder; ``bad-model`` if a file is damaged, cut, too large, a git-lfs
            pointer, or not a file at all (a device, a FIFO).
    """
    for path in model_files(folder):
        _require_regular(path)
        if path.suffix == ".safetensors":
            _require_whole(path)
        elif path.suffix == ".json":
            content = read_json(path)
            if path.name.endswith("config.json"):
                _require_no_code(path, content)
                _require_few(path, content)
            elif path.name not in ("tokenizer.json", "vocab.json"):  # their keys are words
                _require_no_code(path, content)
            if _INDEX.search(path.name):
                _require_safe_index(path, content)
        elif path.suffix in (".txt", ".model", ".jinja", ".yaml"):
            _read_text(path)


def require_weights(folder: Path, *parts: str) -> None:
    """Check, before a folder replaces an older model, that the model was saved whole.

    Args:
        folder: What has just been written.
        parts: Subfolders that hold a network each; by default the folder itself holds one.

    Raises:
        KaleidoError: ``bad-model``, if a configuration or weights are missing, or a file is cut.
    """
    for part in parts or (".",):
        place = folder / part
        if not (place / "config.json").is_file() or not any(place.glob("*.safetensors")):
            raise bad_file(
                place,
                "the model was saved without its configuration or weights",
                "An older model is kept. Train again, in one process.",
            )
    require_safe_folder(folder)


def model_files(folder: Path) -> list[Path]:
    """All files under a folder, sorted by their relative path; hidden ones are left out."""

    def fail(error: OSError) -> None:
        raise error

    found = []
    for place, folders, names in os.walk(folder, onerror=fail):
        folders[:] = [name for name in folders if not name.startswith(".")]
        found += [Path(place) / name for name in names if not name.startswith(".")]
    return sorted(found)


def read_json(path: Path) -> Any:
    """Parse a JSON file of a model.

    Raises:
        KaleidoError: If it is damaged, cut, empty, nested too deeply or too large.
    """
    text = _read_text(path)
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        reason = "nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise bad_file(path, f"it is not valid JSON ({reason})") from error


def bad_file(path: Path, why: str, hint: str = "Download or save the model again.") -> KaleidoError:
    """Return the error of a damaged file of a model."""
    return KaleidoError(str(path), f"{why}.", hint, code="bad-model")


def _require_regular(path: Path) -> None:
    try:
        mode = path.stat().st_mode
    except OSError as error:
        raise bad_file(path, f"it cannot be read ({error.strerror})") from error
    if not stat.S_ISREG(mode):
        raise bad_file(path, "it is not a regular file", "Remove it from the model's folder.")


def _read_text(path: Path) -> bytes:
    _require_regular(path)
    if path.stat().st_size > MAX_TEXT:
        raise bad_file(path, f"it is larger than {MAX_TEXT // 2**20} MiB")
    try:
        data = path.read_bytes()
    except OSError as error:
        raise bad_file(path, f"it cannot be read ({error.strerror})") from error
    _require_no_pointer(path, data)
    return data


def _require_no_pointer(path: Path, start: bytes) -> None:
    if start.startswith(LFS_POINTER):
        raise bad_file(
            path, "it is a git-lfs pointer, not the file itself", "Run `git lfs pull` there."
        )


def _require_whole(path: Path) -> None:
    """Check that a safetensors file has the length that its header promises."""
    size = path.stat().st_size
    with path.open("rb") as file:
        start = file.read(8)
        _require_no_pointer(path, start + file.read(len(LFS_POINTER)))
        length = int.from_bytes(start, "little")
        if len(start) < 8 or length > min(size - 8, _MAX_HEADER):
            raise bad_file(path, "it is not a safetensors file, or it was cut")
        file.seek(8)
        try:
            header = json.loads(file.read(length))
            if not isinstance(header, dict):
                raise ValueError("no object")
            spans = [header[name]["data_offsets"] for name in header if name != "__metadata__"]
            end = max((int(last) for _, last in spans), default=0)
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            raise bad_file(path, f"its header is damaged ({type(error).__name__})") from error
    if 8 + length + end != size:
        raise bad_file(path, f"it has {size:,} bytes where its header names {8 + length + end:,}")


def _require_no_code(path: Path, content: Any) -> None:
    for key, value in _pairs(content):
        if key in _CODE and value:
            raise KaleidoError(
                str(path),
                f"{key!r} asks to run the model's own code or to load another model.",
                "Kaleido runs no code of models. If you know that the model works without it, "
                f"remove {key!r} from a copy of the folder.",
                code="unsafe-model",
            )
        if key == "attn_implementation" and "/" in str(value):
            raise KaleidoError(
                str(path), f"{value} is a kernel that would be downloaded.", code="unsafe-model"
            )


def _require_few(path: Path, content: Any) -> None:
    for key, value in _pairs(content):
        numbers = value if isinstance(value, list) else [value]
        largest = max((each for each in numbers if isinstance(each, int | float)), default=0)
        for names, most, what in ((_LAYERS, MAX_LAYERS, "layers"), (_COUNT, MAX_COUNT, "parts")):
            if names.fullmatch(key) and largest > most:
                raise bad_file(path, f"{key!r} asks for more than {most:,} {what}")


def _pairs(content: Any) -> Iterator[tuple[str, Any]]:
    """All keys of nested objects, with their values."""
    pending = [content]
    while pending:
        each = pending.pop()
        if isinstance(each, dict):
            yield from each.items()
            pending += each.values()
        elif isinstance(each, list):
            pending += [item for item in each if isinstance(item, dict | list)]


def _require_safe_index(path: Path, content: Any) -> None:
    places = content.get("weight_map") if isinstance(content, dict) else None
    if not isinstance(places, dict) or not all(isinstance(name, str) for name in places.values()):
        raise bad_file(path, "its weight_map is not an object of file names")
    for name in sorted(set(places.values())):
        target = path.parent / name
        if Path(name).is_absolute() or ".." in Path(name).parts or target.suffix in PICKLES:
            raise KaleidoError(
                str(path),
                f"it names {name}, and only safetensors files in the model's folder are read.",
                "Save the model again with save_pretrained.",
                code="unsafe-model",
            )
        if target.suffix != ".safetensors" or not target.is_file():
            raise bad_file(path, f"it names {name}, which is not a safetensors file there")
        _require_whole(target)

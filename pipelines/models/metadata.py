"""Metadata of a trained model: the JSON beside its weights, readable without them or torch."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipelines.core.errors import InputMissing, KaleidoError
from pipelines.core.files import METADATA, atomic_write
from pipelines.models.safe_folder import bad_file, read_json


def read_metadata(folder: Path, what: str, hint: str) -> dict[str, Any]:
    """Read the metadata that `write_metadata` wrote.

    Args:
        folder: The model's folder.
        what: What an error calls such a model.
        hint: How to get one.

    Raises:
        InputMissing: If the folder has none.
        KaleidoError: If it is damaged.
    """
    path = folder / METADATA
    if not path.exists():
        raise InputMissing(str(folder), f"there is no {what} here.", hint)
    content = read_json(path)
    if not isinstance(content, dict):
        raise bad_file(path, "it is not a JSON object")
    return content


def other_version(folder: Path) -> KaleidoError:
    """Return the error for a model or a checkpoint that this version cannot read."""
    return KaleidoError(
        str(folder),
        "it was made by another version of Kaleido, or changed since: its parts are not those of "
        "this version.",
        "Train it again, with --restart.",
        code="bad-model",
    )


def write_metadata(folder: Path, metadata: Mapping[str, object]) -> None:
    """Write JSON values; call this last, see `METADATA`."""
    atomic_write(folder / METADATA, (json.dumps(dict(metadata), indent=1) + "\n").encode())


def captioner_metadata(folder: Path) -> dict[str, Any]:
    """Read the metadata of a captioner, with its ``identity``.

    Raises:
        InputMissing: If the folder has none.
        KaleidoError: If it is damaged.
    """
    hint = "`nox -s embedded -- captioner` makes one."
    return _with_identity(folder, read_metadata(folder, "captioner", hint))


def tokenizer_metadata(folder: Path) -> dict[str, Any]:
    """Read the metadata of a visual tokenizer, with its ``identity``.

    Raises:
        InputMissing: If the folder has none.
        KaleidoError: If it is damaged.
    """
    hint = "Run `kaleido train tokenizer` first."
    return _with_identity(folder, read_metadata(folder, "trained tokenizer", hint))


def require_types(folder: Path, metadata: Mapping[str, Any], **types: type) -> None:
    """Check the types of metadata before a class trusts them.

    Args:
        folder: The model's folder.
        metadata: From `read_metadata`.
        types: The type of each value that may occur; a list is one of texts, and an int may stand
            for a float. Values that are missing are not checked.

    Raises:
        KaleidoError: ``bad-model``, if a value is of another type, or unknown.
    """
    for name, value in metadata.items():
        wanted = types.get(name)
        if wanted is None:
            raise other_version(folder)
        is_right = type(value) is wanted or (wanted is float and type(value) is int)
        if wanted is list and is_right:
            is_right = all(type(item) is str for item in value)
        if not is_right:
            raise bad_file(folder / METADATA, f"its {name!r} is {value!r}, not a {wanted.__name__}")


def _with_identity(folder: Path, metadata: dict[str, Any]) -> dict[str, Any]:
    if not isinstance(metadata.get("identity"), str):
        raise bad_file(folder / METADATA, "it names no identity")
    return metadata

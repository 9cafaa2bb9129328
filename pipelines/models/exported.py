"""A folder that `kaleido export` writes: what lies in it, and what may be replaced."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from pipelines.core.errors import KaleidoError
from pipelines.core.files import METADATA, replacing_folder
from pipelines.models.metadata import read_metadata, write_metadata

CARD = "README.md"

MADE_BY = "kaleido export"
"""The value of ``made_by`` in an exported folder's metadata."""


@dataclass(frozen=True)
class Exported:
    """What lies in the folder.

    Attributes:
        folder: Where.
        model: ``kaleido``, ``baseline`` or ``adapter``.
        source: ``workspace``, ``embedded``, or an adapter's folder.
        licence: SPDX expression of the weights; empty if nobody has stated one.
        bytes: Size of all files.
        equal: The folder held just this already, and was left as it is.
    """

    folder: Path
    model: str
    source: str
    licence: str
    bytes: int
    equal: bool


def write_export(
    folder: Path,
    content: str,
    write: Callable[[Path], None],
    overwrite: bool,
    about: Mapping[str, object] | None = None,
) -> tuple[int, bool]:
    """Write an export, unless the folder holds the same already.

    Args:
        folder: A new or empty folder, or one of an earlier export.
        content: Hash of what is exported, with its card.
        write: Writes it into an empty folder.
        overwrite: Replace an earlier export of other models.
        about: What else the metadata say.

    Returns:
        Bytes of all files, and whether the folder was left as it is.

    Raises:
        KaleidoError: If the folder holds another export and `overwrite` is not set, or files of
            others.
    """
    made = {"made_by": MADE_BY, "version": version("kaleido-diffusion"), "content": content}
    metadata = {**(about or {}), **made}
    equal = _check(folder, metadata, overwrite)
    if not equal:
        with replacing_folder(folder) as fresh:
            write(fresh)
            write_metadata(fresh, metadata)
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()), equal


def _check(folder: Path, metadata: Mapping[str, object], overwrite: bool) -> bool:
    """Return whether a folder holds the same export.

    Raises:
        KaleidoError: If it holds another one that may not be replaced.
    """
    if not (folder / METADATA).is_file():
        return False  # `replacing_folder` refuses files of others
    found = read_metadata(folder, "export", "")
    if found == metadata:
        return True
    if found.get("made_by") != MADE_BY:
        raise KaleidoError(
            str(folder),
            "it is a model of another kind, not an export.",
            "Choose another folder.",
            code="would-overwrite",
        )
    if not overwrite:
        raise KaleidoError(
            str(folder),
            "it holds an export of other models, or one with another card.",
            "Give --overwrite to replace it, or choose another folder.",
            code="would-overwrite",
        )
    return False

"""What is noted of a trained model beside its weights: read without them, and without torch."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from pipelines.core.errors import InputMissing, KaleidoError
from pipelines.core.files import atomic_write
from pipelines.embedded.paths import embedded_path, ships
from pipelines.workspace.source import first_manifest
from pipelines.workspace.workspace import Workspace

METADATA = "kaleido.json"
"""What the files of transformers or diffusers do not say; its presence says that a model's folder
is whole."""


def read_facts(folder: Path, what: str, hint: str) -> dict[str, Any]:
    """Read what `write_facts` wrote.

    Args:
        folder: The model's.
        what: What an error calls such a model.
        hint: How one comes there.

    Raises:
        InputMissing: If the folder holds none.
    """
    path = folder / METADATA
    if not path.is_file():
        raise InputMissing(str(folder), f"there is no {what} here.", hint)
    return dict(json.loads(path.read_text(encoding="utf-8")))


def own_models(workspace: Workspace) -> list[str]:
    """Return the names of the models that the workspace has trained."""
    names = ("tokenizer", "prior", "diffusion", "baseline")
    return [name for name in names if (workspace.models(name) / METADATA).is_file()]


def uses_own_models(workspace: Workspace) -> bool:
    """Whether sampling takes the workspace's models, and not the embedded ones."""
    return any(name != "tokenizer" for name in own_models(workspace))


def other_version(folder: Path) -> KaleidoError:
    """The error for a model or a checkpoint that this version cannot read."""
    return KaleidoError(
        str(folder),
        "another version of Kaleido made it: its parts are not those of this version.",
        "Train it again, with --restart.",
    )


def write_facts(folder: Path, facts: Mapping[str, object]) -> None:
    """Write JSON values; this comes last, see `METADATA`."""
    atomic_write(folder / METADATA, (json.dumps(dict(facts), indent=1) + "\n").encode())


def captioner_facts(folder: Path) -> dict[str, Any]:
    """What is noted of a captioner, its ``identity`` too.

    Raises:
        InputMissing: If the folder holds none.
    """
    return read_facts(folder, "captioner", "`nox -s embedded -- captioner` makes one.")


def tokenizer_facts(folder: Path) -> dict[str, Any]:
    """What is noted of a visual tokenizer, its ``identity`` too.

    Raises:
        InputMissing: If the folder holds none.
    """
    return read_facts(folder, "trained tokenizer", "Run `kaleido train tokenizer` first.")


def tokenizer_folder(workspace: Workspace) -> Path:
    """The folder of a workspace's visual tokenizer; where it has none, of the shipped one."""
    own = workspace.models("tokenizer")
    if (own / METADATA).is_file():
        return own
    return _shipped("tokenizer", tokenizer_facts, workspace) or own


def captioner_folder(workspace: Workspace) -> Path | None:
    """The folder of the shipped captioner, or None if it does not know the workspace's data."""
    return _shipped("captioner", captioner_facts, workspace)


def _shipped(
    name: str, facts: Callable[[Path], Mapping[str, Any]], workspace: Workspace
) -> Path | None:
    """The folder of a shipped model, or None if it does not serve the workspace's data.

    It serves what it was trained on: scenes of its size, and not hard ones.
    """
    data = first_manifest(workspace)
    if data is None or data.stage != "scenes" or data.options.get("hard") or not ships(name):
        return None
    folder = embedded_path(name)
    return folder if data.options.get("size") == facts(folder)["image_size"] else None

"""Registry: the folder of a model, which is the workspace's own or a shipped one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pipelines.embedded.paths import embedded_path, ships
from pipelines.models.metadata import METADATA, read_metadata
from pipelines.workspace.source import first_manifest
from pipelines.workspace.workspace import Workspace

SAMPLING = ("prior", "diffusion", "baseline")
"""The models that sampling needs; a workspace uses its own or the shipped ones, never a mixture."""

READER = "reader"
"""The prior that the diffusion models were trained on, where a later one draws z."""


@dataclass(frozen=True)
class ModelSource:
    """Where the models of sampling come from.

    Attributes:
        name: ``workspace`` or ``embedded``.
        folder: Returns the folder of a model by name; it need not exist.
    """

    name: str
    folder: Callable[[str], Path]


EMBEDDED = ModelSource("embedded", embedded_path)


def sampling_source(workspace: Workspace | None) -> ModelSource:
    """Return the workspace if it has any model of `SAMPLING`, otherwise the shipped models."""
    if workspace is None or not uses_own_models(workspace):
        return EMBEDDED
    return ModelSource("workspace", workspace.models)


def uses_own_models(workspace: Workspace) -> bool:
    """Return whether a workspace is sampled with its own models."""
    return any(name in SAMPLING for name in own_models(workspace))


def own_models(workspace: Workspace) -> list[str]:
    """Return the names of the models that were trained in a workspace."""
    return [name for name in ("tokenizer", *SAMPLING, "adapter") if own_model(workspace, name)]


def own_model(workspace: Workspace, name: str) -> Path | None:
    """Return the folder of a workspace's own model, or None if it has none."""
    folder = workspace.models(name)
    return folder if (folder / METADATA).exists() else None


def shipped_model(workspace: Workspace, name: str) -> Path | None:
    """Return the folder of a shipped tokenizer or captioner, or None if it does not fit the data.

    It fits the data that it was trained on: scenes of its size that are not hard ones.
    """
    data = first_manifest(workspace)
    if data is None or data.stage != "scenes" or data.options.get("hard") or not ships(name):
        return None
    folder = embedded_path(name)
    size = read_metadata(folder, name, "Install Kaleido again.").get("image_size")
    return folder if data.options.get("size") == size else None


def tokenizer_folder(workspace: Workspace) -> Path:
    """Return the folder of the visual tokenizer for a workspace.

    It is the workspace's own, else the shipped one if it fits the data, else the folder where
    `kaleido train tokenizer` will write.
    """
    own = own_model(workspace, "tokenizer")
    return own or shipped_model(workspace, "tokenizer") or workspace.models("tokenizer")

"""Where the shipped models lie."""

from __future__ import annotations

from pathlib import Path

from pipelines.core.errors import InputMissing
from pipelines.core.manifest import read_manifest
from pipelines.core.workspace import Workspace

ROOT = Path(__file__).parent


def embedded_path(name: str) -> Path:
    """The folder of a shipped model.

    Args:
        name: detector, judge, captioner, tokenizer, prior, diffusion or baseline.

    Raises:
        InputMissing: If this installation does not contain it.
    """
    folder = ROOT / name
    if not folder.is_dir():
        raise InputMissing(
            name,
            "this version ships no such model.",
            "Install Kaleido again, or make it: `nox -s embedded` in a clone.",
        )
    return folder


def ships(*names: str) -> bool:
    """Whether this version ships all of these models."""
    return all((ROOT / name).is_dir() for name in names)


def tokenizer_path(workspace: Workspace) -> Path:
    """The folder of a workspace's visual tokenizer; where it has none, of the shipped one.

    The shipped one knows pictures of scenes and no others, so it serves data that are scenes.
    """
    own = workspace.models("tokenizer")
    if own.is_dir() or not ships("tokenizer") or not _holds_scenes(workspace):
        return own
    return embedded_path("tokenizer")


def _holds_scenes(workspace: Workspace) -> bool:
    first = next(iter(workspace.data_shards()), None)  # the others are of the same source
    manifest = None if first is None else read_manifest(first)
    return manifest is not None and manifest.stage == "scenes"

"""Whether a command's inputs exist, told without a heavy import."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pipelines.core.errors import InputMissing
from pipelines.workspace.manifest import read_manifest
from pipelines.workspace.source import holds_scenes
from pipelines.workspace.workspace import Workspace


def require_data(workspace: Workspace) -> list[Path]:
    """Return the data shards.

    Raises:
        InputMissing: If there are none.
    """
    if shards := workspace.data_shards():
        return shards
    raise InputMissing(
        str(workspace.data),
        "there are no pictures yet.",
        "Run `kaleido data folder PICTURES` for your own pictures, or `kaleido data scenes`.",
    )


def extracted_kinds(workspace: Workspace) -> list[str]:
    """Return the kinds of latents that the first data shard has, in alphabetical order."""
    first = next(iter(workspace.data_shards()), None)
    folder = workspace.root / "latents"
    if first is None or not folder.is_dir():
        return []
    return sorted(
        path.name for path in folder.iterdir() if read_manifest(path / first.name) is not None
    )


def require_extracted(workspace: Workspace, kinds: Sequence[str]) -> None:
    """Check that kinds of latents have been extracted, at least for the first shard.

    Raises:
        LatentError: If a kind is unknown.
        InputMissing: If there are no data or a kind is missing; offers the kinds that exist.
    """
    from pipelines.latents.registry import latent_class  # imports numpy

    for kind in kinds:
        latent_class(kind)
    require_data(workspace)
    present = extracted_kinds(workspace)
    missing = [kind for kind in kinds if kind not in present]
    if not missing:
        return
    if present:
        hint = f"Use the kinds that are there, --z {','.join(present)}, or extract the others."
    elif holds_scenes(workspace):
        hint = "Run `kaleido extract all` first."
    else:
        hint = (
            "Run `kaleido extract palette`, which works on any pictures, and train with --z "
            "palette; for boxes name a detector that knows your pictures with --model."
        )
    raise InputMissing(
        f"latents {', '.join(missing)}", "these kinds have not been extracted.", hint
    )

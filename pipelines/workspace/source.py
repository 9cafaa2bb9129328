"""The source of a workspace's data."""

from __future__ import annotations

from pipelines.workspace.manifest import Manifest, read_manifest
from pipelines.workspace.workspace import Workspace


def first_manifest(workspace: Workspace) -> Manifest | None:
    """Return the manifest of the first data shard, if any; all shards have the same source."""
    first = next(iter(workspace.data_shards()), None)
    return None if first is None else read_manifest(first)


def holds_scenes(workspace: Workspace) -> bool:
    """Return whether the data are scenes, or there are none yet."""
    manifest = first_manifest(workspace)
    return manifest is None or manifest.stage == "scenes"

"""Where a workspace's data come from."""

from __future__ import annotations

from pipelines.workspace.manifest import Manifest, read_manifest
from pipelines.workspace.workspace import Workspace


def first_manifest(workspace: Workspace) -> Manifest | None:
    """The manifest of the first data shard, if there is one: the others are of the same source."""
    first = next(iter(workspace.data_shards()), None)
    return None if first is None else read_manifest(first)


def holds_scenes(workspace: Workspace) -> bool:
    """Whether the data are scenes; also where there are none yet."""
    manifest = first_manifest(workspace)
    return manifest is None or manifest.stage == "scenes"

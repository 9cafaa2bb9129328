"""Choose how an evaluation measures: a judge for the toy scenes, a feature network otherwise."""

from __future__ import annotations

from collections.abc import Sequence

from pipelines.core.errors import KaleidoError
from pipelines.evaluate.own_data import OwnData
from pipelines.evaluate.protocol import ProtocolChoice
from pipelines.workspace.manifest import read_manifest
from pipelines.workspace.workspace import Workspace


def choose_protocol(
    workspace: Workspace, embedded: bool = False, captions: Sequence[str] | None = None
) -> ProtocolChoice:
    """Choose the protocol for a workspace; the toy world is imported only where it is needed.

    Args:
        workspace: Its ``evaluate.features`` names a feature network, or nothing.
        embedded: Whether the embedded models are compared, which draw scenes.
        captions: Captions of scenes to draw; None for held-out ones.

    Raises:
        KaleidoError: If captions are given although a feature network is named.
    """
    if workspace.settings.evaluate.features:
        if captions is not None:
            raise KaleidoError(
                "captions",
                "with a feature network the captions are those of held-out pictures.",
                "Leave them out, or leave out --features.",
                code="bad-option",
            )
        return OwnData()
    if embedded or _holds_only_scenes(workspace):
        from pipelines.scenes.protocol import Scenes

        return Scenes(captions, embedded)
    return OwnData()


def _holds_only_scenes(workspace: Workspace) -> bool:
    manifests = filter(None, map(read_manifest, workspace.data_shards()))
    return all(manifest.stage == "scenes" for manifest in manifests)

"""Held-out captions of scenes, whose modes are known."""

from __future__ import annotations

from pipelines.core.errors import InputMissing, KaleidoError
from pipelines.core.seeds import derive
from pipelines.sample.run import heldout_captions
from pipelines.scenes.generate import scene_of
from pipelines.workspace.manifest import read_manifest
from pipelines.workspace.workspace import Workspace

FRESH_SCENES = 50_000
"""Scenes that are searched for captions."""

_HINT = (
    "Name a network to measure in, of transformers, by folder or name: --features "
    "facebook/dinov2-base. Or compare the embedded models: --embedded."
)


def require_scenes(workspace: Workspace) -> None:
    """Check that the workspace's data, if it has any, are scenes of the normal variant.

    Raises:
        KaleidoError: If they are not: the judge and the data's distribution would not fit.
    """
    for path in workspace.data_shards():
        manifest = read_manifest(path)
        if manifest is None:
            continue
        if manifest.stage != "scenes":
            raise KaleidoError(
                str(workspace.data),
                f"it holds data of `{manifest.stage}`, and the judge knows scenes only: no "
                "other objects, and its reference pictures are drawn from the scenes' "
                "distribution.",
                _HINT,
                code="not-comparable",
            )
        if manifest.options.get("hard"):
            raise KaleidoError(
                str(workspace.data),
                "it holds hard scenes (--hard), and the reference pictures of the evaluation are "
                "drawn from the normal variant's distribution: one to three objects, arranged.",
                _HINT,
                code="not-comparable",
            )


def captions_of(workspace: Workspace, number: int) -> list[str]:
    """Different captions of the workspace's held-out records, `number` or as many as there are.

    Raises:
        InputMissing: If there are none.
    """
    try:
        return heldout_captions(workspace, number)
    except InputMissing as error:
        raise InputMissing(
            "captions",
            "the workspace has no held-out records.",
            "Make some with `kaleido data scenes`, or evaluate the embedded models: --embedded.",
        ) from error


def fresh_captions(number: int) -> list[str]:
    """Captions of new held-out scenes, for models that were trained elsewhere.

    Raises:
        KaleidoError: If there are not so many different ones among `FRESH_SCENES` scenes.
    """
    captions: dict[str, None] = {}
    seed = derive(0, "evaluate", "captions")
    for index in range(FRESH_SCENES):
        scene, caption = scene_of(seed, index)
        if scene.split == "heldout":
            captions[caption] = None
        if len(captions) == number:
            return list(captions)
    raise KaleidoError(
        f"captions = {number:,}",
        f"held-out scenes have {len(captions):,} different ones that are not too rare.",
        "Use fewer: --captions.",
        code="not-comparable",
    )

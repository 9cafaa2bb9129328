"""Choose held-out captions of scenes, whose modes are known."""

from __future__ import annotations

from pipelines.core.errors import InputMissing, KaleidoError
from pipelines.core.seeds import derive
from pipelines.sample.captions import heldout_captions
from pipelines.scenes.generate import scene_of
from pipelines.workspace.manifest import read_manifest
from pipelines.workspace.workspace import Workspace

FRESH_SCENES = 50_000
"""Number of scenes searched for captions."""

_HINT = (
    "Choose a transformers vision model by folder or name, such as --features "
    "facebook/dinov2-base, or compare the embedded models with --embedded."
)


def require_scenes(workspace: Workspace) -> None:
    """Check that the workspace's data, if any, are scenes of the normal variant.

    Raises:
        KaleidoError: If they are not, because judge and reference distribution would not match.
    """
    for path in workspace.data_shards():
        manifest = read_manifest(path)
        if manifest is None:
            continue
        if manifest.stage != "scenes":
            raise KaleidoError(
                str(workspace.data),
                f"it holds data of `{manifest.stage}`, but the judge recognises only the shapes of "
                "scenes, and the reference pictures are drawn from the distribution of scenes.",
                _HINT,
                code="not-comparable",
            )
        if manifest.options.get("hard"):
            raise KaleidoError(
                str(workspace.data),
                "it holds hard scenes (--hard), but the reference pictures are drawn from the "
                "normal variant: one to three arranged objects.",
                _HINT,
                code="not-comparable",
            )


def captions_of(workspace: Workspace, number: int) -> list[str]:
    """Return up to `number` distinct captions of the workspace's held-out records.

    Raises:
        InputMissing: If there are none.
    """
    try:
        return heldout_captions(workspace, number)
    except InputMissing as error:
        raise InputMissing(
            "captions",
            "the workspace has no held-out records.",
            "Draw some with `kaleido data scenes`, or compare the embedded models with --embedded.",
        ) from error


def fresh_captions(number: int) -> list[str]:
    """Return captions of new held-out scenes, for models that were trained elsewhere.

    Raises:
        KaleidoError: If `FRESH_SCENES` scenes have fewer distinct captions.
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
        f"only {len(captions):,} distinct captions occur in {FRESH_SCENES:,} scenes.",
        "Set a smaller number with --captions.",
        code="not-comparable",
    )

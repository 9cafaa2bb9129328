"""Which bases an adapter can be trained for."""

from __future__ import annotations

from pipelines.bases.folder import BaseFolder, open_folder
from pipelines.core.errors import KaleidoError


def open_trainable(name: str, with_weights: bool = True) -> BaseFolder:
    """Find a base for which an adapter can be trained.

    Args:
        name: A folder, or a name on the hub.
        with_weights: Also fetch the weights.

    Raises:
        KaleidoError: If there is none, it is distilled, or z is its prompt.
    """
    if not name:
        hint = "Give --base: the folder of a diffusers pipeline, or its name on the hub."
        raise KaleidoError("adapter.base", "no base is named.", hint, code="bad-setting")
    folder = open_folder(name, with_weights)
    if error := untrainable(folder):
        raise error
    return folder


def untrainable(folder: BaseFolder) -> KaleidoError | None:
    """Return why no adapter can be trained for a base; None if one can."""
    if folder.family.dialect != "words":
        return KaleidoError(
            folder.name,
            f"{folder.family.title} reads z as its prompt, so an adapter has no use.",
            "Draw with `kaleido sample --base`.",
            code="bad-model",
        )
    if folder.distilled:
        return KaleidoError(
            folder.name,
            f"it is distilled ({folder.distilled}): training would undo that, and guidance, which "
            "makes z count, has no meaning there.",
            "Train with the base that it was distilled from.",
            code="bad-model",
        )
    return None

"""What is saved of a prior beside its weights and tokenizer."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from pipelines.latents.grid_shape import Shape
from pipelines.latents.z_grammar import MAX_DESCRIPTION_TOKENS, MAX_LABEL_TOKENS
from pipelines.models.metadata import METADATA, read_metadata, require_types
from pipelines.models.safe_folder import bad_file
from pipelines.models.soundness import NOTHING_LEARNED, Soundness

_METADATA_TYPES: dict[str, type] = {
    "max_caption_tokens": int,
    "z_kinds": list,
    "labels": list,
    "absent_kinds": list,
    "codebook": str,
    "encoder": str,
    "max_label_tokens": int,
    "max_description_tokens": int,
    "soundness": dict,
    "identity": str,
}

_DEFAULTS = {
    "max_label_tokens": MAX_LABEL_TOKENS,
    "max_description_tokens": MAX_DESCRIPTION_TOKENS,
    "soundness": asdict(NOTHING_LEARNED),
}
"""Values that are not written: a prior of an older version that is saved again must keep its
identity."""


def read_prior_metadata(
    folder: Path, hint: str = "Run `kaleido train prior` first."
) -> tuple[dict[str, Any], bool | None]:
    """Read the arguments of a saved `Prior`, and whether its head was tied; None if unknown.

    Args:
        folder: The prior's.
        hint: How to get one, for the error.

    Raises:
        InputMissing: If the folder holds no prior.
        KaleidoError: If it is damaged, or of another version of Kaleido.
    """
    metadata = read_metadata(folder, "trained prior", hint)
    shape = metadata.get("token_shape")
    if shape is not None and not _is_shape(shape):
        raise bad_file(folder / METADATA, f"its 'token_shape' is {shape!r}")
    tied = metadata.pop("head_tied", None)
    scalars = {name: value for name, value in metadata.items() if name != "token_shape"}
    require_types(folder, scalars, **_METADATA_TYPES)
    if "soundness" in metadata:
        metadata["soundness"] = _soundness(folder, metadata["soundness"])
    return metadata, tied


def changed(metadata: dict[str, object]) -> dict[str, object]:
    """Leave out the values that are `_DEFAULTS`."""
    usual = _DEFAULTS.items()
    return {key: value for key, value in metadata.items() if (key, value) not in usual}


def _is_shape(value: Any) -> bool:
    return isinstance(value, list) and [type(item) for item in value] == [int] * len(Shape._fields)


def _soundness(folder: Path, value: dict[str, Any]) -> Soundness:
    overlaps = value.get("overlaps")
    known = isinstance(overlaps, dict) and value.keys() == asdict(NOTHING_LEARNED).keys()
    rest = [share for name, share in value.items() if name != "overlaps"]
    shares = [*overlaps.values(), *rest] if known and isinstance(overlaps, dict) else [None]
    if not all(isinstance(share, int | float) and 0 <= share <= 1 for share in shares):
        raise bad_file(folder / METADATA, f"its 'soundness' is {value!r}")
    return Soundness(**value)

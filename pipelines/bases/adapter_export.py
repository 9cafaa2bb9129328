"""`kaleido export --adapter`: a trained adapter as a folder to share."""

from __future__ import annotations

import shutil
from pathlib import Path

from huggingface_hub import ModelCard

from pipelines.bases.adapter import adapter_config
from pipelines.bases.adapter_lora import LORA_FILE
from pipelines.core.errors import KaleidoError
from pipelines.core.files import atomic_write
from pipelines.core.fingerprint import fingerprint
from pipelines.models.exported import CARD, Exported, write_export
from pipelines.models.hub import FILES, model_folder, model_identity
from pipelines.models.metadata import read_metadata

REPLACED: tuple[str, ...] = (LORA_FILE, "diffusion_pytorch_model*.safetensors")
"""Files of an older export that a push removes from a repository."""

_OF_EXPORTS = ("made_by", "version", "content")  # an export may be exported again
_HINT = "Name a folder that `kaleido train adapter` wrote, such as models/adapter."


def export_adapter(
    adapter: str, folder: Path, licence: str = "", overwrite: bool = False
) -> Exported:
    """Copy an adapter, with a card that states its licence.

    Args:
        adapter: What `kaleido train adapter` wrote, or a name on the hub.
        folder: A new or empty folder, or one of an earlier export: of the same adapter it is left
            as it is.
        licence: SPDX expression of the weights; by default the card keeps that of the base.
        overwrite: Replace an earlier export. Files of others in the folder stay.

    Raises:
        KaleidoError: If it is no adapter, or the folder holds another export and `overwrite` is
            not set, or files of others.
    """
    source = model_folder(adapter)
    identity = model_identity(source)
    adapter_config(adapter)
    card = _card_of(source, adapter)
    if licence:
        card.data.license = licence.lower()
    known = read_metadata(source, "adapter", _HINT)
    about = {name: value for name, value in known.items() if name not in _OF_EXPORTS}

    def write(fresh: Path) -> None:
        for path in (path for pattern in FILES for path in source.glob(pattern)):
            if not path.name.startswith("."):
                shutil.copyfile(path, fresh / path.name)
        atomic_write(fresh / CARD, str(card).encode())

    content = fingerprint(identity, str(card))
    size, equal = write_export(folder, content, write, overwrite, about)
    return Exported(folder, "adapter", adapter, card.data.license or "", size, equal)


def _card_of(source: Path, adapter: str) -> ModelCard:
    if not (source / CARD).is_file():
        raise KaleidoError(adapter, f"it has no card, {CARD}.", _HINT, code="bad-option")
    return ModelCard((source / CARD).read_text("utf-8"))

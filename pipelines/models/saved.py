"""A transformers model with its tokenizer and our own metadata in one folder."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from copy import deepcopy
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from transformers.utils import logging as transformers_logging

from pipelines.core.files import replacing_folder, sha256_file
from pipelines.core.fingerprint import fingerprint
from pipelines.models.metadata import write_metadata
from pipelines.models.safe_folder import require_weights

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerFast


def save_with_metadata(
    folder: Path,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerFast,
    metadata: Mapping[str, object],
    dtype: torch.dtype,
) -> str:
    """Write a transformers folder (config, safetensors, tokenizer) and ``kaleido.json``.

    Args:
        folder: Replaced as a whole.
        model: It keeps its precision.
        tokenizer: The model's.
        metadata: JSON values; the identity is added.
        dtype: Of the saved weights.

    Returns:
        The identity: a hash of the weights as they are written, the tokenizer and the metadata.
    """
    with replacing_folder(folder) as fresh:
        with without_bars():
            deepcopy(model).to(dtype).save_pretrained(fresh)
        # What it was last asked to pad and to cut is no part of it: a model's identity must not
        # depend on whether this process has tokenized anything.
        tokenizer.backend_tokenizer.no_padding()
        tokenizer.backend_tokenizer.no_truncation()
        tokenizer.save_pretrained(fresh)
        parts = [*sorted(fresh.glob("*.safetensors")), fresh / "tokenizer.json"]
        identity = fingerprint([sha256_file(path) for path in parts], dict(metadata))
        write_metadata(fresh, {**metadata, "identity": identity})
        require_weights(fresh)
    return identity


@contextmanager
def without_bars() -> Iterator[None]:
    """Keep transformers' progress bars off a user's screen while a small file is read."""
    shown = transformers_logging.is_progress_bar_enabled()
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            transformers_logging.enable_progress_bar()

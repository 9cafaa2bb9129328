"""Loading T5 checkpoints with the heads that they have."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from safetensors import safe_open
from transformers import AutoTokenizer, T5Config, T5ForConditionalGeneration
from transformers.utils import logging as transformers_logging

from pipelines.models.hub import loading_error
from pipelines.models.offline import without_network
from pipelines.models.safe_folder import require_safe_folder
from pipelines.models.saved import without_bars

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

T5_TYPES = ("t5", "mt5")
"""The ``model_type`` of models that are loaded as a T5; other relatives have other layers."""


def load_t5(
    folder: Path, weights: bool = True, **changes: object
) -> tuple[T5ForConditionalGeneration, PreTrainedTokenizerFast]:
    """Load a T5 in fp32, with the head that its weights have, and its tokenizer.

    transformers 5 sets ``tie_word_embeddings`` for every T5. It leaves a head alone that differs
    from the embeddings, but ties it as soon as the vocabulary grows, unless the configuration says
    otherwise; so the configuration of an untied model is corrected here.

    Args:
        folder: Holds config.json, safetensors and a tokenizer.
        weights: Read the weights; without, only the shapes count (on the meta device).
        changes: Values of the configuration to override.

    Raises:
        KaleidoError: If it is no T5, damaged or unsafe, or lacks weights.
    """
    require_safe_folder(folder)
    local = {"local_files_only": True, "trust_remote_code": False}
    try:
        values, _ = T5Config.get_config_dict(folder, local_files_only=True)
        if values.get("model_type") not in T5_TYPES:
            raise ValueError(f"its model_type is {values.get('model_type')!r}")
        with without_network(str(folder)), without_bars(), _only_errors():
            config = T5Config.from_dict(values | {"model_type": "t5"} | changes)
            tokenizer = AutoTokenizer.from_pretrained(folder, **local)
            if not weights:
                return _shapes_of_t5(folder, config), tokenizer
            model, info = T5ForConditionalGeneration.from_pretrained(
                folder,
                config=config,
                dtype=torch.float32,
                use_safetensors=True,
                output_loading_info=True,
                **local,
            )
        if info["missing_keys"]:  # transformers would initialise them at random
            raise ValueError(f"it lacks weights: {', '.join(sorted(info['missing_keys'])[:3])}")
    except Exception as error:  # transformers raises whatever its many classes raise
        needs = "Give a folder with config.json, model.safetensors and a tokenizer."
        raise loading_error(error, folder, "T5", needs) from error
    model.config.tie_word_embeddings = model.lm_head.weight is model.shared.weight
    return model, tokenizer


def _shapes_of_t5(folder: Path, config: T5Config) -> T5ForConditionalGeneration:
    """Build a T5 as its folder describes it. Names of weights tell whether its head is tied."""
    names: set[str] = set()
    for file in folder.glob("*.safetensors"):
        with safe_open(file, "pt") as weights:
            names.update(weights.keys())
    model = T5ForConditionalGeneration(config)
    tied = "lm_head.weight" not in names if names else bool(config.tie_word_embeddings)
    head = model.shared.weight if tied else torch.empty_like(model.shared.weight)
    model.lm_head.weight = head if tied else torch.nn.Parameter(head)
    model.config.tie_word_embeddings = tied
    return model


@contextmanager
def _only_errors() -> Iterator[None]:
    """Keep transformers from warning about heads that are not tied, which is as it should be."""
    level = transformers_logging.get_verbosity()
    transformers_logging.set_verbosity_error()
    try:
        yield
    finally:
        transformers_logging.set_verbosity(level)

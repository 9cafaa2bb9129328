"""Which visual tokenizer a name means."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipelines.core.errors import KaleidoError
from pipelines.core.files import sha256_file
from pipelines.core.fingerprint import fingerprint
from pipelines.extract.model_ref import locate
from pipelines.extract.tokenizers.base import TokenizerRef
from pipelines.extract.tokenizers.weights import INDEX, WHAT, weight_files
from pipelines.models.hub import model_identity, read_config
from pipelines.models.metadata import METADATA, tokenizer_metadata
from pipelines.models.safe_folder import require_safe_folder

OWN = ("VQModel", "FsqModel")
"""Classes of the networks of `pipelines.models.tokenizer`."""


def own_tokenizer(folder: Path) -> TokenizerRef:
    """Return the tokenizer that `kaleido train tokenizer` wrote into a folder.

    Raises:
        InputMissing: If there is none.
    """
    return TokenizerRef(str(folder), "own", str(tokenizer_metadata(folder)["identity"]), folder, {})


def find_tokenizer(name: str) -> TokenizerRef:
    """Find a visual tokenizer.

    Args:
        name: See `pipelines.extract.model_ref.locate`: a folder with one of the families of
            `TokenizerRef`, alone or within a pipeline of diffusers or a checkpoint of transformers,
            or a name on the hub.

    Raises:
        KaleidoError: If there is no such model, it cannot be fetched or is no visual tokenizer.
    """
    folder = locate(name, None)
    from_zero = False
    if (folder / "model_index.json").is_file():
        pipeline = read_config(folder, WHAT, "model_index.json")
        # The one pipeline whose VQModel was trained on such values; the model does not say so.
        from_zero = str(pipeline.get("_class_name")) == "AmusedPipeline"
        folder = folder / _component(folder, pipeline)
    config = read_config(folder, WHAT)
    if config.get("_class_name") in OWN and (folder / METADATA).is_file():
        return own_tokenizer(folder)
    family = _family(folder, config)
    identity = fingerprint(_identity(folder), from_zero)
    return TokenizerRef(name, family, identity, folder, config, from_zero)


def _component(folder: Path, pipeline: Mapping[str, Any]) -> str:
    """Return the subfolder of a diffusers pipeline's VQModel."""
    for name, part in pipeline.items():
        if isinstance(part, list) and part[-1:] == ["VQModel"]:
            return name
    raise KaleidoError(
        str(folder),
        "this pipeline has no VQModel.",
        "Name a pipeline that has one, such as aMUSEd.",
        code="bad-model",
    )


def _family(folder: Path, config: Mapping[str, Any]) -> str:
    kind = str(config.get("model_type", ""))
    if config.get("_class_name") == "VQModel":
        return "diffusers"
    for family in ("chameleon", "emu3", "janus"):
        if kind in (family, f"{family}_vqgan"):
            return family
    if "encoder_ch_mult" in config:
        return "llamagen"
    model = config.get("model")
    if isinstance(model, dict) and "vq_model" in model:
        return "titok"
    raise KaleidoError(
        str(folder),
        f"a {kind or config.get('_class_name') or 'model of this kind'} is no visual tokenizer.",
        "Use a VQModel of diffusers, Chameleon, Emu3, Janus, TiTok or LlamaGen's VQ-16.",
        code="bad-model",
    )


def _identity(folder: Path) -> str:
    if not (folder / INDEX).is_file():
        return model_identity(folder)
    require_safe_folder(folder)
    # Of a checkpoint of many gigabytes only the files with the tokenizer are read.
    parts = [*weight_files(folder), *sorted(folder.glob("*config.json"))]
    return fingerprint([[path.name, sha256_file(path)] for path in parts])

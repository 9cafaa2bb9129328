"""Which visual tokenizer a name means, known before anything heavy is loaded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipelines.core.errors import KaleidoError
from pipelines.core.files import sha256_file
from pipelines.core.fingerprint import fingerprint
from pipelines.models.hub import model_folder, model_identity, read_config
from pipelines.models.metadata import METADATA, tokenizer_facts

if TYPE_CHECKING:
    from pipelines.extract.tokenizers.base import VisualTokenizer

INSIDE = "vqmodel."
"""Ends the names' prefix of a VQ model's weights inside a larger checkpoint of transformers."""

INDEX = "model.safetensors.index.json"

WHAT = "a visual tokenizer"
"""What errors call such a model."""


@dataclass(frozen=True)
class VisualModel:
    """A visual tokenizer's folder and what kind it is.

    Attributes:
        folder: Where its ``config.json`` and its weights lie.
        family: ``own`` (trained by `kaleido train tokenizer`), ``diffusers``, ``chameleon``,
            ``emu3``, ``janus``, ``titok`` or ``llamagen``.
        config: The configuration of the tokenizer, or of the checkpoint that it is a part of.
        identity: Hash of its weights and configuration.
        from_zero: Whether a diffusers pipeline feeds it values from 0 to 1, not from -1 to 1.
    """

    folder: Path
    family: str
    config: Mapping[str, Any]
    identity: str
    from_zero: bool = False

    def load(self) -> VisualTokenizer:
        """Load the weights.

        Raises:
            KaleidoError: If the folder does not hold such a model.
        """
        from pipelines.extract.tokenizers import base as visual

        return visual.load(self)


def own_model(folder: Path) -> VisualModel:
    """The tokenizer that a workspace has trained.

    Raises:
        InputMissing: If there is none.
    """
    return VisualModel(folder, "own", {}, str(tokenizer_facts(folder)["identity"]))


def find_visual_model(name: str) -> VisualModel:
    """Find a visual tokenizer: a folder, or a model of the Hugging Face hub, which is fetched.

    Args:
        name: A folder with one of `VisualModel.family`, alone or within a pipeline of diffusers
            or a checkpoint of transformers, or a name on the hub.

    Raises:
        KaleidoError: If there is no such model, it cannot be fetched or is no visual tokenizer.
    """
    folder = model_folder(name)
    from_zero = False
    if (folder / "model_index.json").is_file():
        pipeline = read_config(folder, WHAT, "model_index.json")
        # The one pipeline whose VQModel was trained on such values; the model does not say so.
        from_zero = str(pipeline.get("_class_name")) == "AmusedPipeline"
        folder = folder / _component(folder, pipeline)
    config = read_config(folder, WHAT)
    family = _family(folder, config)
    if family == "diffusers" and (folder / METADATA).is_file():
        return own_model(folder)
    identity = fingerprint(_identity(folder), from_zero)
    return VisualModel(folder, family, config, identity, from_zero)


def _component(folder: Path, pipeline: Mapping[str, Any]) -> str:
    """The subfolder of a diffusers pipeline's VQModel."""
    for name, part in pipeline.items():
        if isinstance(part, list) and part[-1:] == ["VQModel"]:
            return name
    raise KaleidoError(
        str(folder), "this pipeline has no VQModel.", "Name a pipeline that has one, amused say."
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


def weight_files(folder: Path) -> list[Path]:
    """The safetensors files that hold a tokenizer's weights, not those of a model around it."""
    if (folder / INDEX).is_file():
        places = read_config(folder, WHAT, INDEX).get("weight_map", {})
        inside = {file for name, file in places.items() if INSIDE in name}
        return [folder / name for name in sorted(inside or set(places.values()))]
    # diffusers may keep a second copy of other precision beside its file.
    usual = [folder / f"{name}.safetensors" for name in ("model", "diffusion_pytorch_model")]
    return [path for path in usual if path.is_file()] or sorted(folder.glob("*.safetensors"))


def _identity(folder: Path) -> str:
    if not (folder / INDEX).is_file():
        return model_identity(folder)
    # Of a checkpoint of many gigabytes only the files that the tokenizer lies in are read.
    parts = [*weight_files(folder), *sorted(folder.glob("*config.json"))]
    return fingerprint([[path.name, sha256_file(path)] for path in parts])

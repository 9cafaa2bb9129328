"""Which describer a name means, and loading it."""

from __future__ import annotations

from pathlib import Path

from pipelines.core.plugins import DESCRIBERS
from pipelines.extract.captioners.base import Describer, DescriberRef, Wording
from pipelines.extract.captioners.server import ServerDescriber, ServerRef
from pipelines.extract.model_ref import PluginContract, locate
from pipelines.models.hub import GGUF, architecture_of, model_identity, read_config

PLUGINS = PluginContract(DESCRIBERS, "describe", "sees")
"""The describers that plug-ins bring."""


def find_describer(name: str) -> DescriberRef:
    """Find a describer.

    Args:
        name: See `pipelines.extract.model_ref.locate`: a folder of transformers, a GGUF file, a
            plug-in's name, or a name on the hub.

    Raises:
        KaleidoError: If there is no such model, it cannot be fetched or has no configuration.
    """
    found = locate(name, PLUGINS, (GGUF,))
    if not isinstance(found, Path):
        return DescriberRef(name, name, found.identity, None, found.sees)
    sees = not text_only(found)
    family = "recaption" if sees else "expand"
    return DescriberRef(name, family, model_identity(found), found, sees)


def text_only(path: Path) -> bool:
    """Whether a model is a language model that sees no pictures, by its configuration.

    Args:
        path: Its folder, or its GGUF file.

    Raises:
        KaleidoError: If neither it nor a processor has a configuration.
    """
    if path.suffix == GGUF:
        return True
    if any((path / f"{name}_config.json").is_file() for name in ("preprocessor", "processor")):
        return False
    return architecture_of(read_config(path, "a describer")).endswith("ForCausalLM")


def load_describer(ref: DescriberRef, prompt: str, wording: Wording) -> Describer | ServerDescriber:
    """Load a describer's weights, onto the GPU if there is one.

    Args:
        ref: The describer.
        prompt: The question, with ``{caption}`` where the caption belongs.
        wording: How words are chosen.

    Raises:
        KaleidoError: If a library is missing, or the model is damaged or gone.
    """
    if isinstance(ref, ServerRef):
        return ServerDescriber(ref, prompt, wording)
    if ref.path is None:
        describer: Describer = PLUGINS.find(ref.name)(prompt, wording)
        return describer
    if ref.sees:
        from pipelines.extract.captioners.vision import Recaptioner

        return Recaptioner(ref.path, prompt, wording)
    from pipelines.extract.captioners.language import Expander

    return Expander(ref.path, prompt, wording)

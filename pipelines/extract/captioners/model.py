"""Which describer a name means, known before anything heavy is loaded."""

from __future__ import annotations

from pathlib import Path

from pipelines.extract.captioners.base import Describer, DescriberModel, Wording
from pipelines.extract.detectors.plugin import plugin_describer
from pipelines.models.hub import (
    GGUF,
    architecture_of,
    model_folder,
    model_identity,
    read_config,
)


class SavedDescriber(DescriberModel):
    """A describer in the folder or GGUF file `name`: ``recaption``, which sees, or ``expand``."""

    def load(self, prompt: str, wording: Wording) -> Describer:
        """Load the weights, see `DescriberModel`."""
        if self.sees:
            from pipelines.extract.captioners.vision import Recaptioner

            return Recaptioner(Path(self.name), prompt, wording)
        from pipelines.extract.captioners.language import Expander

        return Expander(Path(self.name), prompt, wording)


def find_describer(name: str) -> DescriberModel:
    """Find a describer.

    Args:
        name: A folder of transformers, a GGUF file, the name of a plug-in's describer, or one on
            the Hugging Face hub, which is fetched.

    Raises:
        KaleidoError: If there is no such model, it cannot be fetched or has no configuration.
    """
    if not Path(name).exists() and (plugin := plugin_describer(name)):
        return plugin
    path = model_folder(name)
    sees = not text_only(path)
    return SavedDescriber(str(path), "recaption" if sees else "expand", model_identity(path), sees)


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

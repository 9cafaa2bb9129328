"""A base's folder: found or fetched, checked, and read without its weights."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pipelines.bases.family import Family
from pipelines.bases.registry import family_of
from pipelines.bases.variants import unwanted, variant_of
from pipelines.core.errors import KaleidoError
from pipelines.core.fingerprint import fingerprint
from pipelines.models.hub import download, read_config
from pipelines.models.safe_folder import model_files, require_safe_folder

INDEX = "model_index.json"
LIBRARIES = ("diffusers", "transformers", "stable_diffusion")
"""Where the classes of a pipeline's components may come from; the last is a folder of diffusers."""

UNUSED = ("safety_checker", "feature_extractor", "image_encoder", "prompt_enhancer_head")
"""Components of pipelines that our loop does not call; they are not fetched and not loaded."""

_SAMPLED, _PIECES = 4096, 64  # bytes of a piece, and pieces of a file, that an identity covers
_REVISION = 40  # characters of a commit


@dataclass(frozen=True)
class BaseFolder:
    """A base on the disk.

    Attributes:
        name: As the user named it.
        path: The folder.
        family: Its family.
        index: ``model_index.json``.
        variant: The variant of its weights, such as ``fp16``; empty for the usual files.
    """

    name: str
    path: Path
    family: Family
    index: dict[str, Any]
    variant: str = ""

    @property
    def components(self) -> dict[str, tuple[str, str]]:
        """Components that are used: name -> library and class."""
        return {
            name: (str(value[0]), str(value[1]))
            for name, value in self.index.items()
            if name not in UNUSED and isinstance(value, list) and len(value) == 2 and value[0]
        }

    @property
    def licence(self) -> str:
        """The licence that the model's card names; empty if it names none."""
        card = self.path / "README.md"
        text = card.read_text("utf-8", "replace") if card.is_file() else ""
        head = re.match(r"---\n(.*?)\n---", text, re.DOTALL)
        names = dict(
            re.findall(r"^(license|license_name): *(\S.*?) *$", head[1] if head else "", re.M)
        )
        found: str = names.get("license_name") or names.get("license") or ""
        return found.strip("'\"")

    def config(self, component: str) -> dict[str, Any]:
        """Read the configuration of a network; empty if it has none."""
        path = self.path / component
        if not (path / "config.json").is_file():
            return {}
        return read_config(path, "a network")

    @property
    def distilled(self) -> str:
        """How the model was distilled; empty if nothing shows that it was."""
        denoiser = self.config(self.family.denoiser)
        return self.family.distilled(self.index, denoiser, self.name)

    @property
    def usual_guidance(self) -> tuple[int, float]:
        """Usual number of steps and guidance scale."""
        if not self.distilled:
            return self.family.steps, self.family.cfg
        return self.family.steps_if_distilled(self.config(self.family.denoiser)), 1.0

    @property
    def identity(self) -> str:
        """What tells this base from any other: its commit on the hub, or a hash of its files.

        Of weights the hash covers the length and `_PIECES` pieces spread over the file: reading
        forty gigabytes takes minutes, and any training changes all of them.
        """
        if self.path.parent.name == "snapshots" and len(self.path.name) == _REVISION:
            return self.path.name
        return _hashed([self.path], self.path)

    @property
    def text_parts(self) -> list[str]:
        """Names of the components that read prompts."""
        return [name for name in self.components if name.startswith(("text_encoder", "tokenizer"))]

    def identity_of(self, components: Sequence[str]) -> str:
        """Hash the files of some components, as `identity` does where there is no commit."""
        return _hashed([self.path / name for name in components], self.path)


def open_folder(name: str, with_weights: bool = True) -> BaseFolder:
    """Find a base, fetch what is missing of one on the hub, and check its files.

    Args:
        name: A folder that ``save_pretrained`` of a diffusers pipeline wrote, or a name on the hub.
        with_weights: Also fetch the weights.

    Raises:
        KaleidoError: If there is no such base, no family describes it, or its files are damaged or
            ask to run code.
    """
    path = Path(name)
    if not path.is_dir():
        if path.exists() or path.is_absolute() or name.startswith("."):
            why = "it is no folder." if path.exists() else "there is no such folder."
            hint = "Name a folder that a diffusers pipeline was saved to, or a name on the hub."
            raise KaleidoError(name, why, hint, code="bad-option")
        path = download(name, [INDEX])
    index = read_config(path, "a diffusers pipeline", INDEX)
    family = family_of(str(index.get("_class_name")), name)
    found = BaseFolder(name, path, family, index)
    _require_known_libraries(found)
    if Path(name).is_dir():
        files = _files_of(path)
    else:
        files = _listed(name) or _files_of(path)
        wanted = [INDEX, *_patterns(found.components, with_weights)]
        download(name, wanted, unwanted(variant_of(name, files, found.components)))
    for component in found.components:
        if not (path / component).is_dir():
            why = f"its component {component} is missing."
            raise KaleidoError(name, why, "Download or save the pipeline again.", code="bad-model")
        require_safe_folder(path / component)
    return replace(found, variant=variant_of(name, files, found.components))


def _patterns(components: Sequence[str] | dict[str, Any], with_weights: bool) -> list[str]:
    kinds = ["*.json", "*.txt", "*.model", "*.jinja"] + ["*.safetensors"] * with_weights
    return ["README.md", *(f"{component}/{kind}" for component in components for kind in kinds)]


def _files_of(path: Path) -> list[str]:
    return [file.relative_to(path).as_posix() for file in model_files(path)]


def _listed(name: str) -> list[str]:
    """List the files of a base on the hub; without a connection what was fetched must do."""
    from huggingface_hub import list_repo_files

    try:
        return list(list_repo_files(name))
    except Exception:  # the hub's client raises errors of many libraries; `download` tells them
        return []


def _require_known_libraries(found: BaseFolder) -> None:
    for component, (library, kind) in found.components.items():
        if library not in LIBRARIES:
            raise KaleidoError(
                f"{found.name}, {INDEX}",
                f"its {component} is {library}.{kind}, and code of other packages is not run.",
                "Only classes of diffusers and transformers are loaded.",
                code="unsafe-model",
            )


def _hashed(places: Sequence[Path], inside: Path) -> str:
    files = [path for place in places for path in model_files(place)]
    texts = [path for path in files if path.suffix in (".json", ".txt")]
    weights = [path for path in files if path.suffix == ".safetensors"]
    hashed = [
        [path.relative_to(inside).as_posix(), fingerprint(path.read_bytes().hex())]
        for path in texts
    ]
    hashed += [[path.relative_to(inside).as_posix(), _sampled(path)] for path in weights]
    return fingerprint(hashed)


def _sampled(path: Path) -> str:
    size = path.stat().st_size
    stride = max(size // _PIECES, _SAMPLED)
    with path.open("rb") as file:
        pieces = []
        for start in range(0, size, stride):
            file.seek(start)
            pieces.append(file.read(_SAMPLED).hex())
    return fingerprint(size, pieces)

"""Describe the installation: versions, devices, packages, embedded models and plug-ins."""

from __future__ import annotations

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from pipelines.core.errors import KaleidoError
from pipelines.core.plugins import (
    DESCRIBERS,
    DETECTORS,
    GROUPS,
    LATENTS,
    STAGES,
    load_plugin,
    plugin_names,
    plugin_packages,
)
from pipelines.embedded.paths import embedded_path
from pipelines.extract.captioners.find import PLUGINS as DESCRIBER_PLUGINS
from pipelines.extract.detectors.find import PLUGINS as DETECTOR_PLUGINS
from pipelines.latents.registry import KINDS, latent_class

PACKAGES = {
    "kaleido-diffusion": "this program",
    "torch": "models",
    "transformers": "the prior",
    "diffusers": "the denoiser",
    "numpy": "arrays",
    "pillow": "images",
    "pyarrow": "outcomes of rows",
    "ultralytics": "extract boxes and blobs (extra: yolo)",
    "torchvision": "extract boxes and blobs (extra: yolo)",
    "datasets": "data hub (extra: hub)",
    "resvg-py": "data emoji (extra: emoji)",
    "gguf": "language models in GGUF files (extra: gguf)",
    "spacy": "phrases for open-vocabulary detectors (extra: spacy)",
}
EMBEDDED = ("detector", "judge", "captioner", "tokenizer", "prior", "diffusion", "baseline")


def examine() -> dict[str, Any]:
    """Describe this installation.

    Returns:
        ``system`` (name -> text), ``packages`` (name, version or None, purpose), ``embedded``
        (model -> ``present`` or the problem) and ``plugins`` (group, name, package, ``ready`` or
        the problem).
    """
    return {
        "system": {
            "python": platform.python_version(),
            "platform": platform.platform(),
            "cores": str(os.cpu_count()),
            "devices": ", ".join(_devices()),
        },
        "packages": [(name, _version(name), use) for name, use in PACKAGES.items()],
        "embedded": {name: _embedded(name) for name in EMBEDDED},
        "plugins": [
            (group, name, plugin_packages(group, name), _plugin(group, name))
            for group in GROUPS
            for name in plugin_names(group)
        ],
    }


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _devices() -> list[str]:
    try:
        import torch
    except Exception as error:  # a broken installation may raise anything
        return [f"unknown: torch cannot be imported ({type(error).__name__}: {error})"]
    names = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    return ["cpu", *names, *(["mps"] if torch.backends.mps.is_available() else [])]


def _embedded(name: str) -> str:
    try:
        embedded_path(name)
    except KaleidoError as error:
        return error.why
    return "present"


def _plugin(group: str, name: str) -> str:
    if group in (LATENTS, STAGES) and name in KINDS:
        return "unused: Kaleido already has a kind of this name"
    try:
        if group == LATENTS:
            latent_class(name)
        elif group == DETECTORS:
            DETECTOR_PLUGINS.find(name)
        elif group == DESCRIBERS:
            DESCRIBER_PLUGINS.find(name)
        else:
            load_plugin(group, name)
    except KaleidoError as error:
        return error.why
    return "ready"

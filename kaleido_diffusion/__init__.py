"""Kaleido's Python API. Everything here is stable; other modules may change.

A name is imported when it is first used, so `import kaleido_diffusion` loads nothing heavy.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pipelines.bases.adapter import KaleidoAdapter
    from pipelines.core.errors import InputMissing, KaleidoError
    from pipelines.core.progress import LineProgress, Progress
    from pipelines.data.folder import write_folder
    from pipelines.data.table import write_table
    from pipelines.data.webdataset import write_webdataset
    from pipelines.evaluate.run import evaluate
    from pipelines.extract.run import extract
    from pipelines.latents.sequence import z_from_text, z_to_text
    from pipelines.plan.plan_step import KaleidoPlanStep
    from pipelines.protocols import choose_protocol
    from pipelines.sample.bundle import Bundle, load_bundle
    from pipelines.sample.draw import Sample, draw, draw_from_z
    from pipelines.sample.kaleido_pipeline import KaleidoPipeline
    from pipelines.sample.run import sample
    from pipelines.scenes.generate import write_scenes
    from pipelines.train.diffusion import train_diffusion
    from pipelines.train.prior import train_prior
    from pipelines.train.tokenizer import train_tokenizer
    from pipelines.workspace.config import override
    from pipelines.workspace.settings import SampleSettings, Settings
    from pipelines.workspace.workspace import Workspace

    load_models = load_bundle

_MODULES = {
    "pipelines.bases.adapter": ("KaleidoAdapter",),
    "pipelines.core.errors": ("InputMissing", "KaleidoError"),
    "pipelines.core.progress": ("LineProgress", "Progress"),
    "pipelines.data.folder": ("write_folder",),
    "pipelines.data.table": ("write_table",),
    "pipelines.data.webdataset": ("write_webdataset",),
    "pipelines.evaluate.run": ("evaluate",),
    "pipelines.extract.run": ("extract",),
    "pipelines.latents.sequence": ("z_from_text", "z_to_text"),
    "pipelines.plan.plan_step": ("KaleidoPlanStep",),
    "pipelines.protocols": ("choose_protocol",),
    "pipelines.sample.bundle": ("Bundle", "load_bundle"),
    "pipelines.sample.draw": ("Sample", "draw", "draw_from_z"),
    "pipelines.sample.kaleido_pipeline": ("KaleidoPipeline",),
    "pipelines.sample.run": ("sample",),
    "pipelines.scenes.generate": ("write_scenes",),
    "pipelines.train.diffusion": ("train_diffusion",),
    "pipelines.train.prior": ("train_prior",),
    "pipelines.train.tokenizer": ("train_tokenizer",),
    "pipelines.workspace.config": ("override",),
    "pipelines.workspace.settings": ("SampleSettings", "Settings"),
    "pipelines.workspace.workspace": ("Workspace",),
}
_PLACES = {name: (module, name) for module, names in _MODULES.items() for name in names}
_PLACES["load_models"] = _PLACES.pop("load_bundle")

__all__ = [
    "Bundle",
    "InputMissing",
    "KaleidoAdapter",
    "KaleidoError",
    "KaleidoPipeline",
    "KaleidoPlanStep",
    "LineProgress",
    "Progress",
    "Sample",
    "SampleSettings",
    "Settings",
    "Workspace",
    "choose_protocol",
    "draw",
    "draw_from_z",
    "evaluate",
    "extract",
    "load_models",
    "override",
    "sample",
    "train_diffusion",
    "train_prior",
    "train_tokenizer",
    "write_folder",
    "write_scenes",
    "write_table",
    "write_webdataset",
    "z_from_text",
    "z_to_text",
]


def __getattr__(name: str) -> Any:
    """Import a name on first use (PEP 562)."""
    if name == "__version__":
        from importlib.metadata import version

        return version("kaleido-diffusion")
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, attribute = _PLACES[name]
    value = globals()[name] = getattr(import_module(module), attribute)
    return value


def __dir__() -> list[str]:
    """List the API."""
    return [*__all__, "__version__"]

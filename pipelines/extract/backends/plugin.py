"""Detectors that plug-ins bring."""

from __future__ import annotations

from typing import Any

from pipelines.core.errors import KaleidoError
from pipelines.core.plugins import DETECTORS, load_plugin, plugin_error
from pipelines.extract.backends.base import DetectorBackend, DetectorModel


class PluginDetector(DetectorModel):
    """A detector whose class another package brings; each worker finds it again by its name."""

    def load(self, confidence: float, max_detections: int) -> DetectorBackend:
        """Load the detector, see `DetectorModel`."""
        backend: DetectorBackend = _detector_class(self.name)(confidence, max_detections)
        return backend


def plugin_detector(name: str, prompts: tuple[str, ...]) -> PluginDetector | None:
    """Find the detector that a plug-in brings under a name, or None if none does.

    Raises:
        KaleidoError: If it cannot be imported or is no detector, or `prompts` are given, which no
            plug-in takes.
    """
    found = _detector_class(name)
    if found is None:
        return None
    if prompts:
        raise KaleidoError(
            "--find", f"{name}, a plug-in, finds what it was made for.", "Leave out --find."
        )
    return PluginDetector(name, name, found.identity, found.has_masks)


def _detector_class(name: str) -> Any:
    found: Any = load_plugin(DETECTORS, name)
    if found is not None and (problem := _problem(found)):
        raise plugin_error(DETECTORS, name, problem)
    return found


def _problem(found: Any) -> str:
    """Say why a plug-in's object cannot be the class of a detector; empty if it can."""
    if not (isinstance(found, type) and callable(getattr(found, "predict", None))):
        return f"{found!r} is not a class with a method predict(images, captions)."
    identity = getattr(found, "identity", None)
    if not (isinstance(identity, str) and identity):
        return f"{found.__name__}.identity is not a text that names its version."
    if type(getattr(found, "has_masks", None)) is not bool:
        return f"{found.__name__}.has_masks is not True or False."
    return ""

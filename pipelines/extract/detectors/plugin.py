"""Detectors and describers that plug-ins bring."""

from __future__ import annotations

from typing import Any

from pipelines.core.errors import KaleidoError
from pipelines.core.plugins import DESCRIBERS, DETECTORS, load_plugin, plugin_error
from pipelines.extract.captioners.base import Describer, DescriberModel, Wording
from pipelines.extract.detectors.base import DetectorBackend, DetectorModel


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


class PluginDescriber(DescriberModel):
    """A describer whose class another package brings; each worker finds it again by its name."""

    def load(self, prompt: str, wording: Wording) -> Describer:
        """Load the describer, see `DescriberModel`."""
        describer: Describer = _describer_class(self.name)(prompt, wording)
        return describer


def plugin_describer(name: str) -> PluginDescriber | None:
    """Find the describer that a plug-in brings under a name, or None if none does.

    Raises:
        KaleidoError: If it cannot be imported or is no describer.
    """
    found = _describer_class(name)
    return None if found is None else PluginDescriber(name, name, found.identity, found.sees)


def _detector_class(name: str) -> Any:
    return _checked(DETECTORS, name, "predict", "has_masks")


def _describer_class(name: str) -> Any:
    return _checked(DESCRIBERS, name, "describe", "sees")


def _checked(group: str, name: str, method: str, flag: str) -> Any:
    """Import a class with a method, an ``identity`` and a flag; None if no plug-in brings it."""
    found: Any = load_plugin(group, name)
    if found is None:
        return None
    identity = getattr(found, "identity", None)
    if not (isinstance(found, type) and callable(getattr(found, method, None))):
        raise plugin_error(group, name, f"{found!r} is not a class with a method {method}.")
    if not (isinstance(identity, str) and identity):
        why = f"{found.__name__}.identity is not a text that names its version."
        raise plugin_error(group, name, why)
    if type(getattr(found, flag, None)) is not bool:
        raise plugin_error(group, name, f"{found.__name__}.{flag} is not True or False.")
    return found

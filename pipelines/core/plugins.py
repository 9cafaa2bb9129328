"""Plug-ins: entry points by which other installed packages add kinds, stages and models.

Scanning all installed packages takes about 70 ms, so it is done only for a name that Kaleido itself
does not know, and once per group and process.
"""

from __future__ import annotations

from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from pipelines.core.errors import KaleidoError

LATENTS = "kaleido.latents"
"""Group of latent kinds: the kind's name -> its `pipelines.latents.base.Latent`."""

STAGES = "kaleido.stages"
"""Group of stages: the kind's name -> a function that returns its stage."""

DETECTORS = "kaleido.detectors"
"""Group of detectors: a name for ``--model`` -> its class."""

DESCRIBERS = "kaleido.describers"
"""Group of models that write descriptions: a name for ``--model`` -> its class."""

GROUPS = (LATENTS, STAGES, DETECTORS, DESCRIBERS)


def plugin_names(group: str) -> list[str]:
    """Return the names in a group, sorted, without importing anything."""
    return sorted({entry.name for entry in _entries(group)})


def plugin_packages(group: str, name: str) -> str:
    """Return the packages that define a name, separated by commas; empty if none does."""
    found = {entry.dist.name if entry.dist else "?" for entry in _entries(group, name)}
    return ", ".join(sorted(found))


def load_plugin(group: str, name: str) -> Any:
    """Import the object that a package defines under a name.

    Args:
        group: One of `GROUPS`.
        name: The entry point's name.

    Returns:
        The object of the entry point, unchecked; None if no package defines the name.

    Raises:
        KaleidoError: If several packages define it, or it cannot be imported.
    """
    found = _entries(group, name)
    if not found:
        return None
    if len(found) > 1:
        raise KaleidoError(
            f"plug-in {name!r}",
            f"{plugin_packages(group, name)} define {len(found)} of this name ({group}).",
            "Uninstall all but one.",
            code="plugin",
        )
    try:
        return found[0].load()
    except Exception as error:  # whatever the package's own code raises
        why = f"{found[0].value} cannot be imported ({type(error).__name__}: {error})."
        raise plugin_error(group, name, why) from error


def plugin_error(group: str, name: str, why: str) -> KaleidoError:
    """Return the error of a plug-in that breaks the contract of its group."""
    package = plugin_packages(group, name)
    hint = f"Fix, update or uninstall {package}."
    return KaleidoError(f"plug-in {name!r} of {package}", why, hint, code="plugin")


def _entries(group: str, name: str | None = None) -> list[EntryPoint]:
    return [entry for entry in _scan(group) if name in (None, entry.name)]


@cache
def _scan(group: str) -> tuple[EntryPoint, ...]:
    return tuple(entry_points(group=group))

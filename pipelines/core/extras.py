"""Packages that only an optional extra installs."""

from __future__ import annotations

import importlib
from types import ModuleType

from pipelines.core.errors import KaleidoError


def import_extra(module: str, extra: str) -> ModuleType:
    """Import a module of a package that an extra installs.

    Args:
        module: Its import name.
        extra: Named in the hint.

    Raises:
        KaleidoError: If it is not installed (``not-installed``).
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise KaleidoError(
            module.replace("_", "-"),
            "this package is not installed.",
            f"Install it with `pip install 'kaleido-diffusion[{extra}]'`.",
            code="not-installed",
        ) from error

"""Values that the shell completes."""

from __future__ import annotations

from contextlib import suppress

from pipelines.core.errors import KaleidoError


def complete_kinds(incomplete: str) -> list[str]:
    """Complete the last of several kinds of latents."""
    from pipelines.latents.registry import KINDS

    return _complete_last(incomplete, list(KINDS))


def complete_models(incomplete: str) -> list[str]:
    """Complete the last of the models that `kaleido evaluate` compares."""
    from pipelines.evaluate.metrics.compare import MODELS

    return _complete_last(incomplete, list(MODELS))


def complete_reports(incomplete: str) -> list[str]:
    """Complete the name of a report, which can be continued."""
    return _names("reports", incomplete)


def complete_samples(incomplete: str) -> list[str]:
    """Complete the name of a folder of samples, to which a new one may be added."""
    return _names("samples", incomplete)


def _complete_last(incomplete: str, names: list[str]) -> list[str]:
    before, comma, last = incomplete.rpartition(",")
    given = before.split(",")
    return [f"{before}{comma}{n}" for n in names if n.startswith(last) and n not in given]


def _names(folder: str, incomplete: str) -> list[str]:
    from pipelines.workspace.workspace import Workspace

    with suppress(KaleidoError, OSError):
        paths = (Workspace.find().root / folder).iterdir()
        return sorted(path.name for path in paths if path.name.startswith(incomplete))
    return []

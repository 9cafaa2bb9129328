"""Where the shipped models lie."""

from __future__ import annotations

from pathlib import Path

from pipelines.core.errors import InputMissing

ROOT = Path(__file__).parent


def embedded_path(name: str) -> Path:
    """The folder of a shipped model: detector, judge, prior, diffusion or baseline.

    Raises:
        InputMissing: If this installation does not contain it.
    """
    folder = ROOT / name
    if not folder.is_dir():
        raise InputMissing(
            name,
            "this installation ships no such model.",
            "Reinstall kaleido-diffusion, or train one in the workspace.",
        )
    return folder

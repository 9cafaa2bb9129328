"""The folders of the shipped models."""

from __future__ import annotations

from pathlib import Path

from pipelines.core.errors import InputMissing

ROOT = Path(__file__).parent


def embedded_path(name: str) -> Path:
    """Return the folder of a shipped model.

    Args:
        name: detector, judge, captioner, tokenizer, prior, diffusion or baseline.

    Raises:
        InputMissing: If this installation does not contain it.
    """
    folder = ROOT / name
    if not folder.is_dir():
        raise InputMissing(
            name,
            "this installation does not contain the model.",
            "Install Kaleido again, or make it: `nox -s embedded` in a clone.",
        )
    return folder


def ships(*names: str) -> bool:
    """Return whether this installation contains all of these models."""
    return all((ROOT / name).is_dir() for name in names)

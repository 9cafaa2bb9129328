"""A detector that has learnt nothing, written by the recipe's own export."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipelines.embedded.train_detector import export, new_model


@pytest.fixture(scope="session")
def untrained(tmp_path_factory) -> Path:
    """Return the folder of an untrained detector."""
    folder = tmp_path_factory.mktemp("untrained")
    export(folder, new_model(), images=0, seed=0)
    return folder

"""A detector that has learnt nothing, written by the recipe's own export."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipelines.embedded.train_detector import Training, export


@pytest.fixture(scope="session")
def untrained(tmp_path_factory) -> Path:
    """Return the folder of an untrained detector."""
    folder = tmp_path_factory.mktemp("untrained")
    export(Training(folder, images=1))
    return folder

"""Redraw the scenes that the shipped models were trained on."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

from pipelines.core.record import Record
from pipelines.scenes.generate import make_record

SCENES = 60_000
SEED = 20_240_521


DATA_NAME = f"scenes {SEED}"
"""Identifies these scenes, for example in the evaluation cache."""


def training_scenes(most: int) -> Iterator[Record]:
    """Return the first `most` scenes of the training split."""
    return islice((record for record in _scenes() if not record.heldout), most)


def heldout_scenes(most: int) -> Iterator[Record]:
    """Return the first `most` scenes of the held-out split."""
    return islice((record for record in _scenes() if record.heldout), most)


def _scenes() -> Iterator[Record]:
    return (make_record(SEED, index) for index in range(SCENES))

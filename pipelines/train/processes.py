"""Refuse to train in several processes."""

from __future__ import annotations

import os

from pipelines.core.errors import KaleidoError

WORLD_SIZES = ("WORLD_SIZE", "OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "MV2_COMM_WORLD_SIZE")
"""Variables in which torchrun, accelerate and MPI launchers say how many processes they start."""


def require_one_process(name: str) -> None:
    """Raise KaleidoError if a launcher has started several processes of this program.

    They would not share gradients, and each would write the same model.

    Args:
        name: What is to be trained, for the message.
    """
    for variable in WORLD_SIZES:
        value = os.environ.get(variable, "")
        if value.isdecimal() and int(value) > 1:
            raise KaleidoError(
                name,
                f"{variable} = {value}, but training runs in one process.",
                "Start `kaleido train` itself, without torchrun, accelerate launch or mpirun.",
                code="many-processes",
            )

"""Training in several processes: who writes, and what launchers say in the environment."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path

from pipelines.core.errors import KaleidoError
from pipelines.core.files import check_replaceable, recover_folder
from pipelines.train.checkpoint import drop_checkpoint
from pipelines.train.ranks import Ranks, join_ranks
from pipelines.workspace.workspace import Workspace

MPI_SIZES = ("OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "MV2_COMM_WORLD_SIZE")
"""Variables in which MPI launchers say how many processes they start."""

UNSUPPORTED = {"ACCELERATE_USE_FSDP": "FSDP", "ACCELERATE_USE_DEEPSPEED": "DeepSpeed"}
"""Variables with which `accelerate launch` asks for what training does not do."""


@contextmanager
def writing(
    workspace: Workspace, model: str, checkpoints: Sequence[Path], restart: bool
) -> Iterator[Ranks]:
    """Join the run's processes; the first one holds the model's lock, the others go on after it.

    Args:
        workspace: Where the model is written.
        model: The model's name.
        checkpoints: The run's checkpoints.
        restart: Discard them.

    Raises:
        KaleidoError: If the model is being written (``locked``), its folder is not Kaleido's
            (``would-overwrite``), or the processes cannot train together.
    """
    require_known_launcher(model)
    with join_ranks() as ranks:
        lock = workspace.lock(f"models/{model}") if ranks.first else nullcontext()
        with lock:
            if ranks.first:
                check_replaceable(workspace.models(model))
                for folder in checkpoints:
                    recover_folder(folder)
                    if restart:
                        drop_checkpoint(folder)
            ranks.wait()
            yield ranks


def require_known_launcher(name: str) -> None:
    """Raise KaleidoError if a launcher asks for what training does not do.

    Processes that MPI starts would not share gradients, and each would write the same model.

    Args:
        name: What is to be trained, for the message.
    """
    for variable in MPI_SIZES:
        value = os.environ.get(variable, "")
        if value.isdecimal() and int(value) > 1 and "WORLD_SIZE" not in os.environ:
            raise _refused(name, f"{variable} = {value}, but MPI's processes are not joined.")
    for variable, what in UNSUPPORTED.items():
        if os.environ.get(variable, "").lower() == "true":
            raise _refused(
                name,
                f"accelerate's configuration asks for {what}, which it lacks; for FSDP there is "
                "--fsdp on.",
            )


def _refused(name: str, why: str) -> KaleidoError:
    hint = "Start it with `kaleido train … --processes N`, torchrun or accelerate launch."
    return KaleidoError(name, why, hint, code="many-processes")

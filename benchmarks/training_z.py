"""What z adds to a training step of the denoiser, beside the baseline's, in CPU seconds.

The embedded prior, scenes of 64 pixels, and the denoiser of the shipped recipe. States of captions
are read; those of z are computed in the step, because half of the steps show a part of z.
"""

from __future__ import annotations

import tempfile
import time
from dataclasses import replace
from pathlib import Path
from statistics import median

import torch
from _paired import in_turns

from pipelines.core.progress import SILENT
from pipelines.embedded.paths import embedded_path
from pipelines.extract.run import extract
from pipelines.models.prior import Prior
from pipelines.scenes.generate import write_scenes
from pipelines.train.captions import use_stored_states
from pipelines.train.diffusion import DiffusionTask, fresh_model
from pipelines.train.noise import Noise
from pipelines.train.pictures import open_stream
from pipelines.workspace.workspace import Workspace

ROUNDS, BATCH = 7, 8

KINDS = ("boxes", "blobs", "palette")


def main() -> None:
    """Time steps with and without z in turns."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        workspace = Workspace.init(Path(folder) / "workspace")
        write_scenes(workspace, 40, seed=0)
        prior = Prior.load(embedded_path("prior"))
        prior.save(workspace.models("prior"))
        extract(workspace, (*KINDS, "caption-states"))
        tasks = {name: _task(workspace, prior, name == "z") for name in ("baseline", "z")}
        times = in_turns(
            {name: lambda task=task: _step(task) for name, task in tasks.items()},
            ROUNDS,
            time.process_time,
        )
    for name, values in times.items():
        print(f"{name:9} s a step: {' '.join(f'{value:.3f}' for value in values)}")
    ratio = median(z / plain for plain, z in zip(*times.values(), strict=True))
    print(f"with z beside the baseline: {ratio:.2f} x the time")


def _task(workspace: Workspace, prior: Prior, with_z: bool) -> DiffusionTask:
    settings = replace(
        workspace.settings.diffusion,
        image_size=64,
        patch_size=8,
        batch_size=BATCH,
        z_kinds=KINDS,
    )
    stream = open_stream(workspace, settings, None, SILENT)
    if not use_stored_states(workspace, stream, prior, SILENT):
        raise SystemExit("The states of captions do not fit.")
    kinds = KINDS if with_z else ()
    model = fresh_model(settings, stream, prior, kinds, None)
    draws, weight = settings.noise_draws, settings.naming_weight
    return DiffusionTask(model, prior, stream, settings.drop_condition, draws, weight, 0)


def _step(task: DiffusionTask) -> None:
    loss = task.loss(task.batch(0, BATCH), Noise(0, "benchmark", range(BATCH)))
    loss.sum().backward()
    task.model.zero_grad(set_to_none=True)


if __name__ == "__main__":
    main()

"""Staged against joint training at equal compute, on scenes: one table with intervals.

Every run starts from the shipped prior and a new denoiser, and takes the CPU time that the
denoiser alone takes in ``--steps`` steps. An interrupted command resumes where it stopped.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import NamedTuple

from pipelines.core.progress import LineProgress, Progress
from pipelines.train.joint import JointTask
from pipelines.train.loop import train
from pipelines.train.options import TrainOptions
from pipelines.train.prior import PriorTask
from pipelines.train.task import Task
from recipes.trial import Models, Trial, new_models, options_of, prepare, run_all

JOINT_COST = 1.5
"""CPU time of a joint step over that of a denoiser's alone; the table tells how equal runs are."""

STEPS = 440


class Phase(NamedTuple):
    """A part of a run.

    Attributes:
        share: Of the run's CPU time.
        eta: η, the weight of L_AR; None freezes the prior.
    """

    share: float
    eta: float | None


ARMS: Mapping[str, tuple[Phase, ...]] = {
    "staged": (Phase(1.0, None),),
    "joint, η = 1": (Phase(1.0, 1.0),),
    "joint, η = 0.1": (Phase(1.0, 0.1),),
    "staged, then joint": (Phase(0.5, None), Phase(0.5, 1.0)),
}


def main() -> None:
    """Train what is missing, and print the table."""
    options = options_of(__doc__ or "", "joint", STEPS)
    trial = prepare(options, LineProgress())
    print(run_all(trial, list(ARMS), options.seeds, trained))


def trained(trial: Trial, arm: str, seed: int, progress: Progress) -> Models:
    """Train both models in one of the ways."""
    models, workspace = new_models(trial, seed), trial.workspace
    how = TrainOptions.of(workspace.settings.diffusion, workspace.settings.train)
    for number, phase in enumerate(ARMS[arm]):
        joint = phase.eta is not None
        drawing = models.drawing(seed, through_prior=joint)
        task: Task = drawing
        if phase.eta is not None:
            weight = workspace.settings.prior.structure_weight
            planning = PriorTask(models.prior, models.stream, seed, structure_weight=weight)
            task = JointTask(planning, drawing, phase.eta)
        steps = round(trial.steps * phase.share / (JOINT_COST if joint else 1.0))
        name = f"{list(ARMS).index(arm)}-{seed}-{number}"
        checkpoint = workspace.logs / name / "checkpoint"
        known = {"arm": arm, "seed": seed, "of": trial.steps}
        options = replace(how, steps=steps, seed=seed)
        train(task, options, checkpoint, known, f"{arm}, seed {seed}", progress)
    return models


if __name__ == "__main__":
    main()

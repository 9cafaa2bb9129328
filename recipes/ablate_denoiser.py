"""What the denoiser owes to what was added to the paper's, and what to z: one table, on scenes.

Left out are the layout map, the places of tokens (rectangles, distances and offsets; without them
there is no map either), the loss of naming, all three, and z itself.
"""

from __future__ import annotations

from dataclasses import replace

import torch

from pipelines.core.progress import LineProgress, Progress
from pipelines.models.conditioning import Conditioner, Conditioning, States
from pipelines.models.denoiser.network import KaleidoTransformer2DModel
from pipelines.models.diffusion import Diffusion
from pipelines.train.loop import train
from pipelines.train.options import TrainOptions
from recipes.trial import KINDS, Models, Trial, new_models, options_of, prepare, run_all

STEPS = 360
MAP, PLACES, NAMING, ALL, NO_Z = (
    "no layout map",
    "no places",
    "no naming",
    "none of the three",
    "no z",
)
ARMS = ("complete", MAP, PLACES, NAMING, ALL, NO_Z)


class Placeless(Conditioner):
    """A conditioner that does not know where the items of z are."""

    def forward(
        self, caption: States | None, z: States | None = None, drop: torch.Tensor | None = None
    ) -> Conditioning:
        """Join c and z, all tokens of which refer to the whole image."""
        if z is not None:
            z = replace(z, rects=None, grounded=None, names=None)
        return super().forward(caption, z, drop)


def main() -> None:
    """Train what is missing, and print the table."""
    options = options_of(__doc__ or "", "ablation", STEPS)
    trial = prepare(options, LineProgress())
    print(run_all(trial, ARMS, options.seeds, trained))


def trained(trial: Trial, arm: str, seed: int, progress: Progress) -> Models:
    """Train a denoiser without something."""
    models = new_models(trial, seed, () if arm == NO_Z else KINDS)
    if arm == MAP:
        leave_out_map(models.diffusion)
    if arm in (PLACES, ALL):
        leave_out_places(models.diffusion)
    task = models.drawing(seed, naming=0.0 if arm in (NAMING, ALL) else 0.1)
    settings = trial.workspace.settings
    how = TrainOptions.of(settings.diffusion, settings.train)
    checkpoint = trial.workspace.logs / f"{ARMS.index(arm)}-{seed}" / "checkpoint"
    options = replace(how, steps=trial.steps, seed=seed)
    train(task, options, checkpoint, {"arm": arm, "seed": seed}, f"{arm}, seed {seed}", progress)
    return models


def leave_out_map(model: Diffusion) -> None:
    """Let nothing of the layout map reach the pixels."""
    assert isinstance(model.denoiser, KaleidoTransformer2DModel)
    projection = model.denoiser.layout_projection.weight
    projection.requires_grad_(False).zero_()


def leave_out_places(model: Diffusion) -> None:
    """Let all tokens refer to the whole image."""
    sizes = model.config["context"]
    placeless = Placeless(**sizes)
    placeless.load_state_dict(model.context.state_dict())
    model.context = placeless


if __name__ == "__main__":
    main()

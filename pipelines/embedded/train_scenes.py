"""The recipe of the shipped prior, diffusion model and baseline: ``nox -s embedded`` runs it.

Every step goes on where an earlier run was stopped. The same functions serve as behind the
command line; only the settings are larger.
"""

from __future__ import annotations

import argparse
from dataclasses import asdict, replace
from pathlib import Path

import torch

from pipelines.core.config import override
from pipelines.core.lines import LineProgress
from pipelines.core.progress import Progress
from pipelines.core.workspace import SETTINGS_FILE, Workspace
from pipelines.data.scenes.generate import write_scenes
from pipelines.embedded.card import write_card
from pipelines.embedded.paths import ROOT
from pipelines.extract.run import READY, extract
from pipelines.models.diffusion import Diffusion
from pipelines.models.prior import Prior
from pipelines.train.diffusion import train_diffusion
from pipelines.train.prior import train_prior

CARDS = {
    "prior": ("Prior p(z|c)", "Draws boxes, blobs and a palette for a caption: a tiny T5."),
    "diffusion": ("Kaleido p(x|z,c)", "Draws 64-pixel scenes for a caption and a latent z."),
    "baseline": (
        "Baseline p(x|c)",
        "The same network, parameters, images and schedule as Kaleido's, without z.",
    ),
}
SCENES = 30_000
SEED = 20_240_521
SETTINGS = {
    "prior.steps": 3_000,
    "prior.dropout_steps": 1_600,  # without, "two circles", a held-out pair, becomes three
    "diffusion.steps": 8_500,
}
STEPS = ("data", "extract", "prior", "baseline", "diffusion", "export")


def main() -> None:
    """Run the named steps, or all, in a workspace."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("workspace", type=Path, nargs="?", default=Path("runs/scenes"))
    parser.add_argument("steps", nargs="*", help=", ".join(STEPS))
    parser.add_argument("--threads", type=int, default=1, help="also workers of extraction")
    parser.add_argument("--to", type=Path, default=ROOT, help="where `export` writes")
    options = parser.parse_args()
    if str(options.workspace) in STEPS or not set(options.steps) <= set(STEPS):
        parser.error(f"name a workspace, then steps: {', '.join(STEPS)}")
    torch.set_num_threads(options.threads)
    workspace = _workspace(options.workspace)
    for step in options.steps or STEPS:
        _run(step, workspace, options.threads, options.to, LineProgress())


def _workspace(root: Path) -> Workspace:
    if (root / SETTINGS_FILE).exists():
        workspace = Workspace.find(explicit=root)
    else:
        workspace = Workspace.init(root)
    return replace(workspace, settings=override(workspace.settings, SETTINGS))


def _run(step: str, workspace: Workspace, threads: int, target: Path, progress: Progress) -> None:
    if step == "data":
        write_scenes(workspace, SCENES, seed=SEED, progress=progress)
    elif step == "extract":
        extract(workspace, READY, workers=threads, progress=progress)
    elif step == "prior":
        train_prior(workspace, progress=progress)
    elif step in ("baseline", "diffusion"):
        train_diffusion(workspace, baseline=step == "baseline", progress=progress)
    else:
        export(workspace, target)


def export(workspace: Workspace, target: Path) -> None:
    """Write the trained models to `target` in fp16, each with a card."""
    prior = Prior.load(workspace.models("prior"))
    prior.save(target / "prior", torch.float16)
    for name in ("diffusion", "baseline"):
        model = Diffusion.load(workspace.models(name))
        model.prior = prior.identity  # the same weights, rounded
        model.save(target / name, torch.float16)
    for name, (title, purpose) in CARDS.items():
        write_card(
            target / name,
            title,
            purpose,
            "Apache-2.0",
            "nox -s embedded",
            _facts(workspace, "prior" if name == "prior" else "diffusion"),
            "It knows pictures of one to three simple shapes and captions that name them. Other "
            "words mean nothing to it.",
        )


def _facts(workspace: Workspace, section: str) -> dict[str, object]:
    settings = asdict(getattr(workspace.settings, section))
    seen = settings["steps"] * settings["batch_size"]
    return {"scenes": SCENES, "data seed": SEED, "records seen": seen, **settings}


if __name__ == "__main__":
    main()

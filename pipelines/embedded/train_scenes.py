"""The recipe of the shipped prior, diffusion model and baseline: ``nox -s embedded`` runs it.

Every step goes on where an earlier run was stopped. The same functions serve as behind the
command line; only the settings are larger.
"""

from __future__ import annotations

import argparse
import json
import os
from dataclasses import replace
from pathlib import Path

import torch

from pipelines.core.config import override
from pipelines.core.files import atomic_write
from pipelines.core.progress import Progress
from pipelines.core.workspace import SETTINGS_FILE, Workspace
from pipelines.data.scenes.generate import write_scenes
from pipelines.embedded.paths import ROOT
from pipelines.embedded.plain import PlainProgress
from pipelines.extract.run import extract
from pipelines.models.diffusion import Diffusion
from pipelines.models.prior import Prior
from pipelines.train.diffusion import train_diffusion
from pipelines.train.prior import train_prior

SCENES = 30_000
SEED = 20_240_521
KINDS = ("boxes", "blobs", "palette")
SETTINGS = {
    "prior.steps": 2_500,
    "prior.batch_size": 64,
    "diffusion.steps": 6_000,
    "diffusion.batch_size": 32,
}
STEPS = ("data", "extract", "prior", "baseline", "diffusion", "export")


def main() -> None:
    """Run the named steps in a workspace."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("workspace", type=Path)
    parser.add_argument("steps", nargs="*", choices=STEPS, default=list(STEPS))
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--to", type=Path, default=ROOT, help="where `export` writes")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    workspace = _workspace(options.workspace)
    for step in options.steps:
        _run(step, workspace, options.threads, options.to, PlainProgress())


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
        extract(workspace, KINDS, workers=threads, progress=progress)
    elif step == "prior":
        train_prior(workspace, progress=progress)
    elif step in ("baseline", "diffusion"):
        train_diffusion(workspace, baseline=step == "baseline", progress=progress)
    else:
        export(workspace, target)


def export(workspace: Workspace, target: Path) -> None:
    """Write the trained models to `target` in fp16, each with a card."""
    Prior.load(workspace.models("prior")).save(target / "prior", torch.float16)
    for name in ("diffusion", "baseline"):
        Diffusion.load(workspace.models(name)).save(target / name, torch.float16)
    facts = {"scenes": SCENES, "seed": SEED, **SETTINGS}
    for name in ("prior", "diffusion", "baseline"):
        atomic_write(target / name / "recipe.json", (json.dumps(facts, indent=1) + "\n").encode())


if __name__ == "__main__":
    main()

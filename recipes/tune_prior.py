"""Teach the shipped prior captions in free words: its encoder learns on, its decoder stays.

What is drawn for the states of a caption stays so, and other words are read as those it knows. The
result is averaged with the prior it started from (weight-space ensembles, arXiv 2109.01903).
``--ship`` replaces the shipped prior and keeps the old one as ``reader``, because the denoisers
read its states. Nothing was shipped so far: see docs/notes/2026-12-exposure-gap.md.
"""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from pipelines.core.progress import LineProgress, Progress
from pipelines.embedded.paths import ROOT
from pipelines.engines.local import LocalEngine
from pipelines.engines.run import run_stages
from pipelines.extract.run import extract
from pipelines.models.prior import Prior
from pipelines.models.registry import READER
from pipelines.models.soundness import Soundness, SoundnessSeen
from pipelines.sample.bundle import load_bundle
from pipelines.scenes.generate import write_scenes
from pipelines.scenes.rewordings import NAME, reword
from pipelines.scenes.shipped_data import SCENES, SEED
from pipelines.scenes.true_stages import KINDS, TrueStage
from pipelines.train.prior import Reworded, train_prior, vocabulary_texts
from pipelines.train.stream import RecordStream
from pipelines.workspace.config import override
from pipelines.workspace.settings import Settings
from pipelines.workspace.workspace import SETTINGS_FILE, Workspace

SETTINGS: Mapping[str, Any] = {
    "prior.encoder": "alone",
    "prior.z_kinds": ("description", "boxes"),  # they say what a caption says, in few tokens
    "prior.usual_z": ("boxes",),
    "prior.usual_share": 0.6,
    "prior.steps": 4_000,
    "prior.batch_size": 32,
    "prior.dropout_steps": 800,
    "prior.learning_rate": 1e-3,
    "prior.warmup": 60,
}
SOUND_KINDS = (*KINDS, "palette")
"""Kinds from whose agreement in the data soundness is learned."""


def main() -> None:
    """Train in a workspace, and write its ``models/average``."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("workspace", type=Path, nargs="?", default=Path("runs/tuned"))
    parser.add_argument("--share", type=float, default=0.5, help="of the tuned weights")
    parser.add_argument("--threads", type=int, default=1, help="also workers of the data")
    parser.add_argument("--ship", action="store_true", help="replace the shipped prior")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    start = start_folder()
    settings = {**SETTINGS, "prior.pretrained": str(start)}
    workspace = tune(options.workspace, SCENES, settings, options.threads, LineProgress())
    prior = Prior.load(start)
    average(prior, Prior.load(workspace.models("prior")), 1.0 - options.share)
    prior.soundness = soundness_of(workspace)
    prior.save(workspace.models("average"), torch.float16)
    if options.ship:
        if start.name != READER:
            shutil.copytree(start, ROOT / READER)
        shutil.copytree(workspace.models("average"), ROOT / "prior", dirs_exist_ok=True)


def start_folder() -> Path:
    """Return the folder of the prior that the shipped denoisers were trained with."""
    return ROOT / ("prior" if load_bundle().older is None else READER)


def tune(
    folder: Path, scenes: int, settings: Mapping[str, Any], workers: int, progress: Progress
) -> Workspace:
    """Train ``models/prior`` of a workspace; an interrupted run resumes.

    Args:
        folder: The workspace, made if there is none.
        scenes: Number of scenes.
        settings: Of the training.
        workers: Processes that draw the scenes and compute z.
        progress: Told of the work.
    """
    exists = (folder / SETTINGS_FILE).exists()
    workspace = Workspace.find(explicit=folder) if exists else Workspace.init(folder)
    workspace = replace(workspace, settings=override(Settings(), settings))
    write_scenes(workspace, scenes, seed=SEED, workers=workers, progress=progress)
    run_stages(workspace, [TrueStage(KINDS, SEED)], LocalEngine(workers), progress=progress)
    extract(workspace, ("palette",), workers=workers, progress=progress)
    train_prior(workspace, progress=progress, reworded=Reworded(NAME, reword))
    return workspace


def soundness_of(workspace: Workspace) -> Soundness:
    """Learn how well the kinds of z agree in a workspace's data."""
    seen = SoundnessSeen()
    vocabulary_texts(RecordStream(workspace, SOUND_KINDS, 0, images=False), SOUND_KINDS, seen)
    return seen.result()


@torch.no_grad()
def average(prior: Prior, other: Prior, share: float) -> None:
    """Average the weights of a prior with those of another one.

    Args:
        prior: It is changed.
        other: Of the same sizes.
        share: Share of the prior's own weights.
    """
    theirs = dict(other.model.named_parameters())
    for name, own in prior.model.named_parameters():  # those that are shared once
        own.mul_(share).add_(theirs[name], alpha=1.0 - share)


if __name__ == "__main__":
    main()

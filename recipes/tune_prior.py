"""A trial: the shipped prior, trained on from the scenes' truth and captions in free words.

The result is averaged with the prior it started from (weight-space ensembles, arXiv 2109.01903),
all of it or only what reads captions, and is not shipped: see docs/notes/2026-12-exposure-gap.md.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

import torch

from pipelines.core.batches import in_batches
from pipelines.core.progress import LineProgress, Progress
from pipelines.embedded.paths import ROOT
from pipelines.engines.local import LocalEngine
from pipelines.engines.run import run_stages
from pipelines.extract.run import extract
from pipelines.latents.text import SHIPPED_KINDS
from pipelines.latents.vocabulary import plain_caption, special_tokens
from pipelines.models.prior import Prior
from pipelines.scenes.generate import write_scenes
from pipelines.scenes.rewordings import NAME, reword
from pipelines.scenes.shipped_data import SCENES, SEED
from pipelines.scenes.true_stages import KINDS, TrueStage
from pipelines.train.prior import train_prior
from pipelines.train.prior_task import Reworded
from pipelines.train.stream import RecordStream
from pipelines.train.untrained_prior import vocabulary_texts
from pipelines.workspace.config import override
from pipelines.workspace.settings import Settings
from pipelines.workspace.workspace import SETTINGS_FILE, Workspace

SETTINGS: Mapping[str, Any] = {
    "prior.encoder": "trained",
    "prior.z_kinds": SHIPPED_KINDS,
    "prior.usual_z": ("description", "boxes", "blobs", "palette"),
    "prior.usual_share": 0.8,
    "prior.structure_weight": 1.0,  # the numbers are what it was least sure of
    "prior.steps": 1_000,
    "prior.batch_size": 64,
    "prior.dropout_steps": 0,
    "prior.learning_rate": 1e-3,
    "prior.warmup": 30,
}


def main() -> None:
    """Train in a workspace, and write its ``models/average``."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("workspace", type=Path, nargs="?", default=Path("runs/tuned"))
    parser.add_argument("--share", type=float, default=0.5, help="of the tuned weights")
    parser.add_argument(
        "--encoder", action="store_true", help="tuned weights of the encoder and new words alone"
    )
    parser.add_argument("--threads", type=int, default=1, help="also workers of the data")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    settings = {**SETTINGS, "prior.pretrained": str(ROOT / "prior")}
    workspace = tune(options.workspace, SCENES, settings, options.threads, LineProgress())
    prior = Prior.load(workspace.models("prior"))
    start = Prior.load(ROOT / "prior")
    if options.encoder:
        keep_decoder(prior, start, known_tokens(workspace, start))
    average(prior, start, options.share)
    prior.save(workspace.models("average"), torch.float16)


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
    extract(workspace, ("palette", "tokens"), workers=workers, progress=progress)
    train_prior(workspace, progress=progress, reworded=Reworded(NAME, reword))
    return workspace


def known_tokens(workspace: Workspace, prior: Prior) -> list[int]:
    """Return the tokens of z, and those of the captions and labels of a workspace's data."""
    stream = RecordStream(workspace, KINDS, 0, images=False)
    _, texts = vocabulary_texts(stream, KINDS)
    plain = [*map(plain_caption, texts), *special_tokens(prior.z_kinds)]
    rows = (prior.tokenizer(batch).input_ids for batch in in_batches(plain, 500))
    return sorted({*chain.from_iterable(chain.from_iterable(rows))})


@torch.no_grad()
def keep_decoder(prior: Prior, start: Prior, known: Sequence[int]) -> None:
    """Give a tuned prior the decoder that it started from, and the embeddings of known tokens.

    Encoder and decoder share the embeddings, so z of known words would change with them.

    Args:
        prior: It is changed.
        start: What it was tuned from.
        known: Ids of these tokens.
    """
    prior.model.decoder.block.load_state_dict(start.model.decoder.block.state_dict())
    norm = start.model.decoder.final_layer_norm.state_dict()
    prior.model.decoder.final_layer_norm.load_state_dict(norm)
    ids = list(known)
    prior.model.shared.weight[ids] = start.model.shared.weight[ids]


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

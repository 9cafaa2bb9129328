"""Cures of the exposure gap from one start, with equal further steps: prior, denoiser and draws.

All arms train on scenes' true boxes and blobs, from the shipped models. What was measured is kept
in WORKSPACE/cures.json, so an interrupted comparison goes on. See
docs/notes/2026-12-exposure-gap.md.
"""

from __future__ import annotations

import argparse
import json
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pipelines.core.files import atomic_write
from pipelines.core.progress import LineProgress
from pipelines.embedded.paths import ROOT, embedded_path
from pipelines.engines.local import LocalEngine
from pipelines.engines.run import run_stages
from pipelines.evaluate.adherence.boxes import agrees
from pipelines.latents.agreement import agreement
from pipelines.latents.sequence import z_from_text
from pipelines.models.diffusion import Diffusion
from pipelines.models.prior import Prior
from pipelines.sample.bundle import Bundle, load_bundle
from pipelines.sample.decode import draw_own
from pipelines.sample.draw import draw_each, draw_z_each
from pipelines.scenes.generate import write_scenes
from pipelines.scenes.heldout import fresh_captions
from pipelines.scenes.judge import Judge
from pipelines.scenes.modes import matches
from pipelines.scenes.reference import Asked
from pipelines.scenes.true_stages import TrueStage
from pipelines.train.diffusion import train_diffusion
from pipelines.train.prior import train_prior
from pipelines.workspace.config import override
from pipelines.workspace.settings import SampleSettings, Settings
from pipelines.workspace.workspace import SETTINGS_FILE, Workspace

KINDS = ("boxes", "blobs")
SCENES = 500
FIRST = {"z_candidates": 1}
SHARED = {"z_kinds": KINDS, "learning_rate": 3e-4, "warmup": 10}
PRIOR: Mapping[str, Any] = SHARED | {
    "pretrained": str(ROOT / "prior"),
    "encoder": "trained",
    "usual_share": 1.0,
    "dropout_steps": 0,
    "batch_size": 32,
    "steps": 80,
}
DENOISER: Mapping[str, Any] = SHARED | {
    "pretrained": str(ROOT / "diffusion"),
    "image_size": 64,
    "patch_size": 8,
    "batch_size": 4,
    "steps": 40,
}
ARMS: Mapping[str, tuple[str, Mapping[str, Any], tuple[Mapping[str, Any], ...]]] = {
    "start": ("", {}, (FIRST, {})),
    "prior, more steps": ("prior", {}, (FIRST,)),
    "prior, scheduled sampling": ("prior", {"scheduled_sampling": "linear"}, (FIRST,)),
    "prior, preference": ("prior", {"preference": 1.0}, (FIRST,)),
    "denoiser, more steps": ("diffusion", {}, (FIRST,)),
    "denoiser, noise on z": (
        "diffusion",
        {"z_noise": 0.5},
        (FIRST, FIRST | {"z_noise": 0.25}),
    ),
}
"""Name -> what is trained, its settings, and the ways to draw."""


def main() -> None:
    """Train and measure what was not yet, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("workspace", type=Path, nargs="?", default=Path("runs/cures"))
    parser.add_argument("--arms", nargs="+", default=list(ARMS), choices=list(ARMS))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--captions", type=int, default=16)
    parser.add_argument("-n", type=int, default=16, help="z of each caption")
    parser.add_argument("--pictures", type=int, default=2, help="of each caption")
    options = parser.parse_args()
    torch.set_num_threads(1)
    workspace = prepare(options.workspace)
    file = workspace.root / "cures.json"
    found = json.loads(file.read_text()) if file.exists() else {}
    captions, judge = fresh_captions(options.captions), Judge.load(embedded_path("judge"))
    for arm in options.arms:
        for seed in options.seeds:
            part, changes, draws = ARMS[arm]
            keys = [f"{arm} {json.dumps(draw)} {seed}" for draw in draws]
            if set(keys) <= set(found):
                continue
            bundle = train(workspace, part, changes, seed)
            for key, draw in zip(keys, draws, strict=True):
                settings = SampleSettings(n=options.n, seed=seed, steps=8, **draw)
                shown = options.pictures if part != "prior" else 0
                found[key] = measure(bundle, captions, settings, judge, shown)
                atomic_write(file, json.dumps(found, indent=1).encode())
                print(key, found[key], flush=True)


def prepare(folder: Path) -> Workspace:
    """Draw the scenes, and take their true boxes and blobs."""
    exists = (folder / SETTINGS_FILE).exists()
    workspace = Workspace.find(explicit=folder) if exists else Workspace.init(folder)
    write_scenes(workspace, SCENES, seed=23)
    run_stages(workspace, [TrueStage(KINDS, 23)], LocalEngine())
    return workspace


def train(workspace: Workspace, part: str, changes: Mapping[str, Any], seed: int) -> Bundle:
    """Go on training a shipped model, and put it beside the other one."""
    shipped = load_bundle(embedded=True).drawing(KINDS)
    if not part:
        return shipped
    usual = PRIOR if part == "prior" else DENOISER
    chosen = {f"{part}.{key}": value for key, value in {**usual, **changes, "seed": seed}.items()}
    given = replace(workspace, settings=override(Settings(), chosen))
    if part == "prior":
        train_prior(given, restart=True, progress=LineProgress(), draw=draw_own)
        prior = Prior.load(given.models("prior"))
        return replace(shipped, prior=prior, older=shipped.prior)
    shutil.rmtree(given.models("prior"), ignore_errors=True)
    shutil.copytree(ROOT / "prior", given.models("prior"))
    train_diffusion(given, restart=True, progress=LineProgress())
    return replace(shipped, diffusion=Diffusion.load(given.models("diffusion")))


def measure(
    bundle: Bundle, captions: list[str], settings: SampleSettings, judge: Judge, pictures: int
) -> dict[str, float]:
    """Return means over z, and over the pictures of the first z of each caption."""
    drawn = draw_z_each(bundle.prior, captions, KINDS, settings, settings.n)
    texts = [(caption, z.text) for caption, group in drawn for z in group]
    fits = [agreement(z_from_text(text)) for _, text in texts]
    overlaps = [fit.overlaps for fit in fits if fit is not None]
    found = {
        "iou": float(np.mean(np.concatenate(overlaps))),
        "refused": float(np.mean([min(each) < 0.5 for each in overlaps])),
        "agrees": float(np.mean([agrees(z, Asked.by(caption).shapes) for caption, z in texts])),
    }
    if pictures:
        kept = []
        for caption, samples in zip(
            captions, draw_each(bundle, captions, replace(settings, n=pictures)), strict=True
        ):
            _, verdicts = judge.inspect(np.stack([sample.pixels for sample in samples]))
            kept += [matches(verdict, Asked.by(caption)) for verdict in verdicts]
        found["kept"] = float(np.mean(kept))
    return {name: round(value, 4) for name, value in found.items()}


if __name__ == "__main__":
    main()

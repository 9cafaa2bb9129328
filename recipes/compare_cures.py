"""Cures of the exposure gap from one start, with equal further steps: prior, denoiser and draws.

All arms train on scenes' true boxes and blobs, from the shipped models. What was measured is kept
in WORKSPACE/cures.json, so an interrupted comparison goes on. See
docs/notes/2026-12-exposure-gap.md.
"""

from __future__ import annotations

import argparse
import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import product
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
SHARED = {"z_kinds": KINDS, "learning_rate": 3e-4, "warmup": 10}
PRIOR = SHARED | {"pretrained": str(ROOT / "prior"), "encoder": "trained", "batch_size": 32}
PRIOR |= {"usual_share": 1.0, "dropout_steps": 0}
DENOISER = SHARED | {"pretrained": str(ROOT / "diffusion"), "batch_size": 8}
DENOISER |= {"image_size": 64, "patch_size": 8}
FIRST = {"z_candidates": 1}
ARMS: Mapping[str, tuple[str, Mapping[str, Any], Sequence[Mapping[str, Any]]]] = {
    "start": ("", {}, (FIRST, {})),
    "prior, more steps": ("prior", {}, (FIRST,)),
    "prior, scheduled sampling": ("prior", {"scheduled_sampling": "linear"}, (FIRST,)),
    "prior, preference": ("prior", {"preference": 1.0}, (FIRST,)),
    "denoiser, more steps": ("diffusion", {}, (FIRST,)),
    "denoiser, noise on z": ("diffusion", {"z_noise": 0.5}, (FIRST, FIRST | {"z_noise": 0.25})),
}
"""Name -> what is trained, its settings, and the ways to draw."""


def main() -> None:
    """Train and measure what was not yet, and print all of it as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("workspace", type=Path, nargs="?", default=Path("runs/cures"))
    parser.add_argument("--arms", nargs="+", default=list(ARMS), choices=list(ARMS))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--scenes", type=int, default=2_000)
    parser.add_argument("--steps", type=int, default=200, help="further steps of each arm")
    parser.add_argument("-n", type=int, default=16, help="z of each of 16 captions")
    parser.add_argument("--pictures", type=int, default=4, help="of each caption")
    options = parser.parse_args()
    torch.set_num_threads(1)
    workspace = prepare(options.workspace, options.scenes)
    file, judge = workspace.root / "cures.json", Judge.load(embedded_path("judge"))
    found = json.loads(file.read_text()) if file.exists() else {}
    size = f"{options.scenes} scenes, {options.steps} steps, n {options.n}, {options.pictures}"
    for arm, seed in product(options.arms, options.seeds):
        part, changes, draws = ARMS[arm]
        keys = [f"{arm}, {json.dumps(draw)}, {size}, seed {seed}" for draw in draws]
        if set(keys) <= set(found):
            continue
        bundle = train(workspace, part, {**changes, "steps": options.steps, "seed": seed})
        for key, draw in zip(keys, draws, strict=True):
            settings = SampleSettings(n=options.n, seed=seed, steps=8, **draw)
            found[key] = measure(
                bundle, settings, judge, 0 if part == "prior" else options.pictures
            )
            atomic_write(file, json.dumps(found, indent=1).encode())
    print(json.dumps(found, indent=1))


def prepare(folder: Path, scenes: int) -> Workspace:
    """Draw the scenes, and take their true boxes and blobs."""
    exists = (folder / SETTINGS_FILE).exists()
    workspace = Workspace.find(explicit=folder) if exists else Workspace.init(folder)
    write_scenes(workspace, scenes, seed=23)
    run_stages(workspace, [TrueStage(KINDS, 23)], LocalEngine())
    return workspace


def train(workspace: Workspace, part: str, changes: Mapping[str, Any]) -> Bundle:
    """Go on training a shipped model, and put it beside the other one."""
    shipped = load_bundle(embedded=True).drawing(KINDS)
    if not part:
        return shipped
    usual = PRIOR if part == "prior" else DENOISER
    chosen = {f"{part}.{key}": value for key, value in {**usual, **changes}.items()}
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
    bundle: Bundle, settings: SampleSettings, judge: Judge, pictures: int
) -> dict[str, float]:
    """Return means over z, and over the pictures of the first z of each caption."""
    captions = fresh_captions(16)
    drawn = draw_z_each(bundle.prior, captions, KINDS, settings, settings.n)
    texts = [(caption, z.text) for caption, group in drawn for z in group]
    fits = [agreement(z_from_text(text)) for _, text in texts]
    overlaps = [fit.overlaps for fit in fits if fit is not None]
    found: dict[str, list[float]] = {
        "iou": np.concatenate(overlaps).tolist(),
        "below a half": [min(each) < 0.5 for each in overlaps],
        "agrees": [agrees(z, Asked.by(caption).shapes) for caption, z in texts],
    }
    groups = draw_each(bundle, captions if pictures else (), replace(settings, n=pictures))
    for caption, samples in zip(captions, groups, strict=False):
        verdicts = judge.inspect(np.stack([sample.pixels for sample in samples]))[1]
        found["kept"] = [*found.get("kept", ()), *(matches(v, Asked.by(caption)) for v in verdicts)]
    return {name: round(float(np.mean(values)), 4) for name, values in found.items()}


if __name__ == "__main__":
    main()

"""What the trials of training have in common: scenes, the shipped prior, and one measurement.

A trial compares ways of training small denoisers at 32 pixels. All start from the shipped prior,
which stands for the pretrained language model of the paper, and read boxes and palettes.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from time import process_time
from typing import Any

import numpy as np
import torch

from pipelines.core.files import atomic_write
from pipelines.core.progress import SILENT, LineProgress, Progress
from pipelines.embedded.paths import ROOT, embedded_path
from pipelines.engines.local import LocalEngine
from pipelines.engines.run import run_stages
from pipelines.evaluate.adherence.boxes import box_adherence
from pipelines.evaluate.metrics.diversity import vendi
from pipelines.evaluate.metrics.statistics import Estimate, Interval, combine
from pipelines.extract.run import extract
from pipelines.models.diffusion import Diffusion
from pipelines.models.prior import Prior
from pipelines.sample.bundle import Bundle
from pipelines.sample.draw import draw
from pipelines.scenes.generate import write_scenes
from pipelines.scenes.heldout import fresh_captions
from pipelines.scenes.judge import Judge
from pipelines.scenes.modes import matches
from pipelines.scenes.reference import Asked
from pipelines.scenes.shipped_data import SEED
from pipelines.scenes.true_stages import TrueStage
from pipelines.train.diffusion import DiffusionTask, fresh_model
from pipelines.train.noise import Noise
from pipelines.train.pictures import open_stream
from pipelines.train.prior import PriorTask, Usual, new_prior
from pipelines.train.stream import RecordStream
from pipelines.workspace.config import override
from pipelines.workspace.settings import SampleSettings, Settings
from pipelines.workspace.workspace import SETTINGS_FILE, Workspace

KINDS = ("boxes", "palette")
SETTINGS: Mapping[str, Any] = {
    "prior.pretrained": str(ROOT / "prior"),
    "prior.z_kinds": KINDS,
    "prior.dropout_steps": 0,
    "diffusion.z_kinds": KINDS,
    "diffusion.image_size": 32,
    "diffusion.pixel_channels": 24,
    "diffusion.precision": "fp32",
    "diffusion.ema": 0.99,
}
HELD_OUT, BATCH = 8, 16
"""Batches of held-out records on which losses are measured, and the records of each."""

COLUMNS = {
    "seconds": "CPU s",
    "kept": "captions kept",
    "vendi": "Vendi score",
    "boxes": "boxes of z found",
    "nats": "prior, nats a token",
    "error": "error of drawing, held out",
}


@dataclass(frozen=True)
class Trial:
    """What all runs of a trial share.

    Attributes:
        workspace: Scenes with their z; its folder holds the results.
        judge: Looks at the pictures.
        captions: Held-out captions that are drawn.
        n: Pictures of each.
        steps: Training steps of a denoiser on a frozen prior.
    """

    workspace: Workspace
    judge: Judge
    captions: Sequence[str]
    n: int
    steps: int


@dataclass(frozen=True)
class Models:
    """The models of a run, untrained.

    Attributes:
        prior: The shipped prior.
        diffusion: A new denoiser.
        stream: The records that both learn from.
    """

    prior: Prior
    diffusion: Diffusion
    stream: RecordStream

    def drawing(self, seed: int, naming: float = 0.1, through_prior: bool = False) -> DiffusionTask:
        """Return the denoiser's task."""
        sizes = Settings().diffusion
        return DiffusionTask(
            self.diffusion,
            self.prior,
            self.stream,
            sizes.drop_condition,
            sizes.noise_draws,
            naming,
            seed,
            through_prior,
        )


def options_of(about: str, folder: str, steps: int) -> argparse.Namespace:
    """Parse the command line of a trial."""
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument("workspace", type=Path, nargs="?", default=Path("runs", folder))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--steps", type=int, default=steps, help="of a denoiser alone")
    parser.add_argument("--scenes", type=int, default=3_000)
    parser.add_argument("--captions", type=int, default=16, help="held-out captions")
    parser.add_argument("-n", type=int, default=4, help="pictures of each")
    return parser.parse_args()


def prepare(options: argparse.Namespace, progress: Progress = SILENT) -> Trial:
    """Draw the scenes and their z, unless they are there."""
    torch.set_num_threads(1)
    root = options.workspace
    exists = (root / SETTINGS_FILE).exists()
    workspace = Workspace.find(explicit=root) if exists else Workspace.init(root)
    workspace = replace(workspace, settings=override(Settings(), SETTINGS))
    write_scenes(workspace, options.scenes, seed=SEED, progress=progress)
    run_stages(workspace, [TrueStage(("boxes",), SEED)], LocalEngine(1), progress=progress)
    extract(workspace, ("palette",), progress=progress)
    judge, captions = Judge.load(embedded_path("judge")), fresh_captions(options.captions)
    return Trial(workspace, judge, captions, options.n, options.steps)


def new_models(trial: Trial, seed: int, kinds: Sequence[str] = KINDS) -> Models:
    """Load the prior and build a denoiser, a baseline if it reads no kinds."""
    settings = trial.workspace.settings
    sizes = replace(settings.diffusion, seed=seed)
    stream = open_stream(trial.workspace, sizes, None, SILENT)
    prior = new_prior(settings.prior, stream, SILENT)
    return Models(prior, fresh_model(sizes, stream, prior, kinds, None), stream)


def run_all(
    trial: Trial,
    arms: Sequence[str],
    seeds: Sequence[int],
    train: Callable[[Trial, str, int, Progress], Models],
) -> str:
    """Train and measure what has not been measured yet, and return the table.

    Args:
        trial: What is shared.
        arms: The ways of training, the first of which the others are compared with.
        seeds: Runs of each.
        train: (trial, arm, seed, progress) -> trained models; resumes an interrupted run.
    """
    found: dict[str, list[dict[str, Any]]] = {arm: [] for arm in arms}
    for seed in seeds:
        for number, arm in enumerate(arms):
            path = trial.workspace.root / "results" / f"{number}-{seed}.json"
            shared = {"arm": arm, "steps": trial.steps, "captions": len(trial.captions)}
            kept = json.loads(path.read_text("utf-8")) if path.exists() else {}
            if not shared.items() <= kept.items():
                begun = process_time()
                models = train(trial, arm, seed, LineProgress())
                kept = shared | {"seconds": [process_time() - begun]}
                kept |= measure(trial, models, seed)
                path.parent.mkdir(exist_ok=True)
                atomic_write(path, json.dumps(kept).encode())
            found[arm].append(kept)
    return table(found)


def measure(trial: Trial, models: Models, seed: int) -> dict[str, list[float]]:
    """Measure trained models.

    Returns:
        By name, a value for each caption: the share of pictures that keep it, the Vendi score, the
        share of z's boxes that the judge finds (NaN without z). Or for each held-out batch: the
        prior's cross-entropy in nats a token, and the denoiser's error with z of the data.
    """
    kinds = models.diffusion.z_kinds
    bundle = Bundle(models.prior, models.diffusion, "kaleido" if kinds else "baseline", "trial")
    settings = SampleSettings(n=trial.n, steps=12, seed=seed, batch_size=trial.n)
    values: dict[str, list[float]] = {name: [] for name in list(COLUMNS)[1:]}
    for caption in trial.captions:
        drawn = list(draw(bundle, caption, settings))
        features, verdicts = trial.judge.inspect(np.stack([sample.pixels for sample in drawn]))
        asked, texts = Asked.by(caption), [sample.z for sample in drawn]
        values["kept"].append(float(np.mean([matches(each, asked) for each in verdicts])))
        values["vendi"].append(vendi(features))
        values["boxes"].append(box_adherence(texts, verdicts)["boxes"])
    planned, _ = PriorTask(models.prior, models.stream, 0, usual=Usual(1.0)).held_out()
    drawing, size = models.drawing(0, naming=0.0).held_out()
    models.prior.model.eval()
    for start in range(0, min(BATCH * HELD_OUT, size), BATCH):
        count = min(BATCH, size - start)
        noise = [Noise(0, "held out", range(start, start + count)) for _ in range(2)]
        with torch.no_grad():
            values["nats"].append(float(planned.loss(planned.batch(start, count), noise[0])))
            values["error"].append(float(drawing.loss(drawing.batch(start, count), noise[1])[0]))
    return values


def table(found: Mapping[str, Sequence[Mapping[str, Any]]]) -> str:
    """Write the table: each way, and in brackets below its difference from the first one.

    Intervals (95 %) resample captions, or batches, and seeds.
    """
    first = next(iter(found.values()))
    lines = ["| | " + " | ".join(COLUMNS.values()) + " |", "|---" * (len(COLUMNS) + 1) + "|"]
    for arm, runs in found.items():
        cells, apart = [], []
        for name in COLUMNS:
            own, start = (_estimate(each, name) for each in (runs, first))
            cells.append(_written(own.interval(), ""))
            gap = combine([(1.0, own), (-1.0, start)]).interval()
            apart.append("" if name == "seconds" else _written(gap, "+"))
        lines.append(f"| {arm} | " + " | ".join(cells) + " |")
        if runs is not first:
            lines.append("| … minus the first | " + " | ".join(apart) + " |")
    return "\n".join(lines)


def _estimate(runs: Sequence[Mapping[str, Any]], name: str) -> Estimate:
    return Estimate.mean_of(np.array([run[name] for run in runs]).T)


def _written(found: Interval, sign: str) -> str:
    if not np.isfinite(found.value):
        return "–"
    digits = 0 if abs(found.value) >= 100 else 3
    value = f"{found.value:{sign}.{digits}f}"
    return f"{value} ({found.low:.{digits}f} to {found.high:.{digits}f})" if found.known else value

"""Recipe of the shipped captioner, tokenizer, prior, diffusion model and baseline.

``nox -s embedded`` runs it. Every step resumes an interrupted run. The steps call the functions
behind the command line, with larger settings.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch

from pipelines.core.progress import LineProgress, Progress
from pipelines.embedded.paths import ROOT
from pipelines.evaluate.metrics.compare import BASELINE, KALEIDO
from pipelines.evaluate.run import evaluate
from pipelines.extract.run import extract
from pipelines.latents.text import SHIPPED_KINDS
from pipelines.models.diffusion import Diffusion
from pipelines.models.prior import Prior
from pipelines.models.tokenizer import Tokenizer
from pipelines.scenes.generate import write_scenes
from pipelines.scenes.protocol import Scenes
from pipelines.scenes.shipped_data import SCENES, SEED, heldout_scenes
from pipelines.train.diffusion import train_diffusion
from pipelines.train.prior import train_prior
from pipelines.train.tokenizer import measure as measure_tokenizer
from pipelines.train.tokenizer import train_tokenizer
from pipelines.workspace.config import override
from pipelines.workspace.settings import Settings
from pipelines.workspace.workspace import SETTINGS_FILE, Workspace
from recipes import train_captioner
from recipes.card import write_card
from recipes.measure_prior import measure

CARDS = {
    "tokenizer": (
        "Visual tokenizer",
        "A VQModel that encodes 64-pixel scenes as 8 x 8 codebook ids and decodes them.",
    ),
    "prior": (
        "Prior p(z|c)",
        "A tiny T5 that draws description, boxes, blobs, visual tokens and palette of a caption.",
    ),
    "diffusion": ("Kaleido p(x|z,c)", "Draws 64-pixel scenes for a caption and a latent z."),
    "baseline": (
        "Baseline p(x|c)",
        "Kaleido's network without z, trained on the same data for more steps.",
    ),
}
LIMITS = (
    "It is trained only on pictures of one to three simple shapes and captions that name them, and "
    "does not understand other words."
)
SETTINGS = {
    "tokenizer.channels": (32, 64),
    "tokenizer.codebook_size": 1000,  # numbers of z end at 1000, so larger ids need two
    "tokenizer.steps": 4_000,
    "tokenizer.decoder_steps": 1_500,
    "tokenizer.batch_size": 128,
    "prior.z_kinds": SHIPPED_KINDS,
    "prior.steps": 2_800,
    "prior.batch_size": 256,
    "prior.dropout": 0.1,
    "prior.dropout_steps": 1_000,  # without it, "two circles", a held-out pair, become three
    "diffusion.z_kinds": SHIPPED_KINDS,
    "diffusion.image_size": 64,
    "diffusion.patch_size": 8,
    "diffusion.steps": 4_200,
    "diffusion.batch_size": 128,
    "diffusion.learning_rate": 2e-3,
    "diffusion.warmup": 300,
}
DRAWN = ("description", "boxes", "blobs", "palette")
"""Default kinds of the shipped model, without tokens, with which this small prior loses objects."""
BASELINE_STEPS = 5_500
"""More steps than Kaleido in the same time, because it learns shapes and places later without z."""
STEPS = (
    "data",
    "captioner",
    "tokenizer",
    "extract",
    "prior",
    "baseline",
    "diffusion",
    "export",
    "measure",
)
CAPTIONER_SEED = 0
REPORT = "embedded"
DRAWS = 10_000
HELD_OUT = 1_000
SHOWN = ("frechet", "precision", "recall", "vendi", "mss", "caption", "boxes.of_ceiling")
"""Metrics on the cards of the diffusion models."""


def main() -> None:
    """Run the given steps, or all steps, in a workspace."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("workspace", type=Path, nargs="?", default=Path("runs/scenes"))
    parser.add_argument("steps", nargs="*", help=", ".join(STEPS))
    parser.add_argument(
        "--threads", type=int, default=1, help="also workers of data and extraction"
    )
    parser.add_argument("--history", default="", help="note on an unusual run for the cards")
    options = parser.parse_args()
    if str(options.workspace) in STEPS or not set(options.steps) <= set(STEPS):
        parser.error(f"name a workspace, then steps: {', '.join(STEPS)}")
    torch.set_num_threads(options.threads)
    workspace = _workspace(options.workspace)
    for step in options.steps or STEPS:
        _run(step, workspace, options.threads, options.history, LineProgress())


def _workspace(root: Path) -> Workspace:
    if (root / SETTINGS_FILE).exists():
        workspace = Workspace.find(explicit=root)
    else:
        workspace = Workspace.init(root)
    # Ignore the workspace's file, which may be of another version, and use the recipe's settings.
    return replace(workspace, settings=override(Settings(), SETTINGS))


def _of_model(workspace: Workspace, name: str) -> Workspace:
    """Return the workspace with the number of steps of one of the diffusion models."""
    changes = {"diffusion.steps": BASELINE_STEPS} if name == "baseline" else {}
    return replace(workspace, settings=override(workspace.settings, changes))


def _run(step: str, workspace: Workspace, threads: int, history: str, progress: Progress) -> None:
    if step == "data":
        write_scenes(workspace, SCENES, seed=SEED, workers=threads, progress=progress)
    elif step == "captioner":
        # Write it to the embedded models, because a workspace has no captioner of its own.
        checkpoint = workspace.logs / "captioner" / "checkpoint"
        out, images = ROOT / "captioner", train_captioner.IMAGES
        train_captioner.make(out, checkpoint, images, CAPTIONER_SEED, progress)
    elif step == "tokenizer":
        train_tokenizer(workspace, progress=progress)
    elif step == "extract":
        extract(workspace, SHIPPED_KINDS, workers=threads, progress=progress)
    elif step == "prior":
        train_prior(workspace, progress=progress)
    elif step in ("baseline", "diffusion"):
        train_diffusion(_of_model(workspace, step), step == "baseline", progress=progress)
    elif step == "export":
        export(workspace, ROOT)
    else:
        measured = measure_shipped(workspace, progress)
        for name, facts in measured.items():
            title, purpose = CARDS[name]
            section = "diffusion" if name == "baseline" else name
            settings = _settings(_of_model(workspace, name), section)
            if history and name != "tokenizer":
                settings["history"] = history
            facts = settings | facts
            write_card(ROOT / name, title, purpose, "Apache-2.0", "nox -s embedded", facts, LIMITS)


def export(workspace: Workspace, target: Path) -> None:
    """Write the trained models to `target` in fp16."""
    tokenizer = Tokenizer.load(workspace.models("tokenizer"))
    prior = Prior.load(workspace.models("prior"))
    learned = prior.codebook == tokenizer.identity
    tokenizer.save(target / "tokenizer", torch.float16)
    if learned:
        prior.codebook = tokenizer.identity  # the same entries, rounded
    prior.save(target / "prior", torch.float16)
    for name in ("diffusion", "baseline"):
        model = Diffusion.load(workspace.models(name))
        model.prior = prior.identity  # the same weights, rounded
        model.drawn_kinds = tuple(kind for kind in DRAWN if kind in model.z_kinds)
        model.save(target / name, torch.float16)


def measure_shipped(workspace: Workspace, progress: Progress) -> dict[str, dict[str, object]]:
    """Compare the shipped models in ``reports/embedded``, and measure tokenizer and prior.

    Returns:
        Model -> numbers for its card by name.
    """
    read = measure_tokenizer(Tokenizer.load(ROOT / "tokenizer"), list(heldout_scenes(HELD_OUT)))
    found = measure(Prior.load(ROOT / "prior"), 0, DRAWS)
    facts: dict[str, dict[str, object]] = {
        "tokenizer": {f"held-out scenes: {name}": f"{v:.4g}" for name, v in read.items()},
        "prior": {f"held-out captions: {name}": f"{v:.4g}" for name, v in found.items()},
    }
    summary = evaluate(workspace, Scenes(embedded=True), REPORT, embedded=True, progress=progress)
    for name, model in (("diffusion", KALEIDO), ("baseline", BASELINE)):
        facts[name] = {
            f"CFG {row['cfg']:g}: {row['metric']}": _interval(row)
            for row in summary.rows
            if row["model"] == model and row["metric"].partition("[")[0] in SHOWN
        }
    return facts


def _interval(row: Mapping[str, Any]) -> str:
    return f"{row['value']:.3f} (95 % interval {row['low']:.3f} to {row['high']:.3f})"


def _settings(workspace: Workspace, section: str) -> dict[str, object]:
    settings = asdict(getattr(workspace.settings, section))
    steps = settings["steps"] + settings.get("decoder_steps", 0)
    seen = steps * settings["batch_size"]
    return {"scenes": SCENES, "data seed": SEED, "records seen": seen, **settings}


if __name__ == "__main__":
    main()

"""Measure at which noise level a model p(x|c) loses objects, by denoising noised real pictures.

From pure noise, the model has to invent the picture; from a low noise level, it only has to
preserve visible content. Objects that the judge no longer finds after a low level were lost by the
denoiser's rendering, not by its choice of content.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from pipelines.core.errors import KaleidoError
from pipelines.core.seeds import derive
from pipelines.embedded.paths import ROOT
from pipelines.evaluate.observations import Verdict
from pipelines.models.device import compute_device, in_fp32
from pipelines.models.diffusion import Diffusion
from pipelines.models.pixels import to_pixels, to_tensor
from pipelines.models.prior import Prior
from pipelines.sample.integrate import integrate
from pipelines.scenes.judge import Judge
from pipelines.scenes.modes import matches
from pipelines.scenes.reference import Asked, reference_images
from recipes.measure_prior import captions

LEVELS = (0.15, 0.3, 0.5, 0.7, 0.85, 1.0)
STEPS = 30
"""Sampler steps from pure noise; lower levels use the remaining steps."""


def main() -> None:
    """Measure the shipped baseline, or the baseline in a folder, and print JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, nargs="?", default=ROOT / "baseline")
    parser.add_argument("--captions", type=int, default=16)
    parser.add_argument("--n", type=int, default=6)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    torch.set_num_threads(1)
    model, prior = Diffusion.load(options.folder), Prior.load(ROOT / "prior")
    chosen = list(captions(options.seed, options.captions))
    print(json.dumps(measure(model, prior, chosen, options.n, options.seed), indent=1))


@torch.inference_mode()
@in_fp32()
def measure(
    model: Diffusion, prior: Prior, chosen: Sequence[str], n: int, seed: int
) -> dict[str, dict[str, float]]:
    """Noise real pictures of captions to each of `LEVELS`, and denoise them.

    Args:
        model: A model without z, which would reveal the noised content.
        prior: The prior, whose encoder encodes the captions.
        chosen: Captions of scenes.
        n: Pictures per caption.
        seed: Seed of pictures and noise.

    Returns:
        Level -> ``error``, the mean squared velocity error of one prediction; ``caption``, the
        share of pictures with exactly the captioned objects; ``shapes``, the share of captioned
        objects that are found.

    Raises:
        KaleidoError: If the model is conditioned on z.
    """
    if model.z_kinds:
        raise KaleidoError(
            "this model",
            f"it is conditioned on {', '.join(model.z_kinds)}.",
            "Use a baseline's folder.",
        )
    size, device = model.image_size, compute_device()
    model.to(device)
    prior.model.to(device)
    real = np.concatenate([reference_images(text, n, seed, "data", size) for text in chosen])
    images, texts = to_tensor(real).to(device), [text for text in chosen for _ in range(n)]
    asked = [Asked.by(text) for text in texts]
    context = model.prepare(model.context(prior.encode(texts)))
    judge, found = Judge.load(ROOT / "judge"), {}

    def predict(x: torch.Tensor, level: torch.Tensor) -> torch.Tensor:
        return model(x, level.expand(len(x)).to(device), context)

    for start in LEVELS:
        rng = torch.Generator().manual_seed(derive(seed, "restoration", str(start)))
        level = torch.tensor(start)
        noise = torch.randn(images.shape, generator=rng).to(device)
        noisy = (1 - level) * images + level * noise
        error = ((predict(noisy, level) - images) / level).square().mean()
        grid = model.shift(torch.linspace(1.0, 0.0, STEPS + 1))
        drawn = integrate(predict, noisy, torch.cat([level[None], grid[grid < start]]))
        found[f"{start:g}"] = {"error": float(error), **_kept(judge(to_pixels(drawn)), asked)}
    return found


def _kept(verdicts: Sequence[Verdict], asked: Sequence[Asked]) -> dict[str, float]:
    whole = [matches(verdict, wanted) for verdict, wanted in zip(verdicts, asked, strict=True)]
    shapes = [
        (Counter(item.label for item in verdict.objects) & wanted.shapes).total()
        for verdict, wanted in zip(verdicts, asked, strict=True)
    ]
    total = sum(wanted.shapes.total() for wanted in asked)
    return {"caption": float(np.mean(whole)), "shapes": sum(shapes) / total}


if __name__ == "__main__":
    main()

"""Drawing pictures, beside a loop as pipelines of diffusers have it, around the same network.

The plain loop does what a stock pipeline does: conditions of both passes in one batch, from which
the network computes keys, values, offsets and layout at every step; both passes at every step; and
diffusers' FlowMatchEulerDiscreteScheduler. Where guidance is idle its scale is 1, so all loops draw
the same pictures up to rounding. The aims: never slower as it comes, 1.2 times as fast with
channels-last, which `kaleido doctor --bench` chooses on CPUs.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import replace

import numpy as np
import torch
from _paired import in_turns, show
from diffusers import FlowMatchEulerDiscreteScheduler

from pipelines.models.conditioning import Conditioning
from pipelines.models.diffusion import Diffusion
from pipelines.sample.bundle import load_bundle
from pipelines.sample.draw import condition_on, draw_z_each, encode_caption
from pipelines.sample.sampler import draw_images
from pipelines.workspace.settings import SampleSettings

CAPTION = "two circles and a star"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-n", type=int, default=16, help="pictures")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=SampleSettings().steps)
    parser.add_argument("--speed", default="channels-last", help="what doctor chose, with commas")
    options = parser.parse_args()
    torch.set_num_threads(1)
    settings = SampleSettings(n=options.n, steps=options.steps)
    bundle = load_bundle(embedded=True)
    [(_, drawn)] = draw_z_each(bundle.prior, [CAPTION], bundle.z_kinds, settings, options.n)
    encoded = encode_caption(bundle.reader, CAPTION)
    condition = condition_on(bundle, encoded, [each.text for each in drawn])
    model, seeds = bundle.diffusion, range(options.n)
    chosen = replace(settings, speed=tuple(options.speed.split(",")))
    works = {
        "plain loop": lambda: plain_loop(model, condition, seeds, settings),
        "kaleido": lambda: draw_images(model, condition, seeds, settings),
        f"kaleido, {options.speed}": lambda: draw_images(model, condition, seeds, chosen),
    }
    first, *others = (work().astype(int) for work in works.values())
    apart = ", ".join(f"{np.abs(each - first).mean():.4f}" for each in others)
    print(f"mean difference from the plain loop's pictures, in levels of 255: {apart}")
    times = in_turns(works, options.rounds, time.process_time)
    show(times, "plain loop", "pictures", options.n)


@torch.inference_mode()
def plain_loop(
    model: Diffusion, condition: Conditioning, seeds: range, settings: SampleSettings
) -> np.ndarray:
    """Draw as a stock pipeline does."""
    count = len(seeds)
    (shape,) = model.shapes[:1]
    noise = [
        torch.randn(*model.canvas(shape), generator=torch.Generator().manual_seed(seed))
        for seed in seeds
    ]
    latents = torch.stack(noise)
    both = _joined(model.context.null(count), condition)
    scheduler = FlowMatchEulerDiscreteScheduler(shift=model.noise_shift)
    even = torch.linspace(1.0, 0.0, settings.steps + 1)[:-1]
    scheduler.set_timesteps(sigmas=even.tolist())
    for timestep in scheduler.timesteps:
        sigma = timestep / scheduler.config.num_train_timesteps
        twice = torch.cat([latents] * 2)
        clean = model(twice, sigma.expand(2 * count), model.prepare(both, twice))
        away, towards = clean.chunk(2)
        if settings.cfg_end - 1e-6 <= sigma <= settings.cfg_begin:
            clean = (away + settings.cfg * (towards - away)).clamp(-1.0, 1.0)
        else:
            clean = towards
        velocity = (latents - clean) / sigma
        latents = scheduler.step(velocity, timestep, latents, return_dict=False)[0]
    return model.pictures(latents)


def _joined(null: Conditioning, condition: Conditioning) -> Conditioning:
    """Pad the null condition to the length of the other, and join both to one batch."""
    more = condition.tokens.shape[1] - null.tokens.shape[1]
    pad = torch.nn.functional.pad
    return Conditioning(
        torch.cat([pad(null.tokens, (0, 0, 0, more)), condition.tokens]),
        torch.cat([pad(null.mask, (0, more)), condition.mask]),
        torch.cat([pad(null.rects, (0, 0, 0, more)), condition.rects]),
        torch.cat([pad(null.names, (0, more)), condition.names]),
    )


if __name__ == "__main__":
    main()

"""How local and how sparing visual tokens are: tokenizers of scenes, one beside the other."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from pipelines.core.seeds import generator
from pipelines.embedded.paths import embedded_path
from pipelines.models.pixels import to_tensor
from pipelines.models.tokenizer import Tokenizer
from pipelines.scenes.shipped_data import heldout_scenes
from pipelines.train.tokenizer import measure

CORNER = 12
"""Side of the corner that is repainted, in pixels."""

AFAR = 32
"""Distance in pixels from which on a token is far from that corner."""

NOISE = 2.0 / 255.0
"""Standard deviation of noise that nobody sees, on a scale from 0 to 1."""


def main() -> None:
    """Measure the shipped tokenizer and others on held-out scenes, and print JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folders", nargs="*", type=Path, help="trained tokenizers")
    parser.add_argument("-n", type=int, default=128, help="held-out scenes")
    options = parser.parse_args()
    torch.set_num_threads(1)
    records = list(heldout_scenes(options.n))
    found = {}
    for folder in (embedded_path("tokenizer"), *options.folders):
        tokenizer = Tokenizer.load(folder)
        pixels = np.stack([record.pixels for record in records])
        found[str(folder)] = measure(tokenizer, records) | locality(tokenizer, pixels)
    print(json.dumps(found, indent=1))


def locality(tokenizer: Tokenizer, pixels: np.ndarray) -> dict[str, float]:
    """Measure what changes ids, and how many a flat picture has.

    Args:
        tokenizer: The tokenizer.
        pixels: uint8 (n, side, side, 3).

    Returns:
        Shares of ids: ``changed_afar`` after a corner was repainted, ``kept_under_shift`` by a
        pixel, ``kept_under_noise``, ``kept_when_read_again`` after decoding; and ``ids_of_paper``,
        the most different ids of a picture of one colour.
    """
    images = to_tensor(pixels)
    ids = tokenizer.encode(images)
    repainted = images.clone()
    repainted[:, :, :CORNER, :CORNER] = -repainted[:, :, :CORNER, :CORNER]
    shifted = torch.cat([images[..., :1], images[..., :-1]], -1)
    far = _far(tokenizer)
    noise = generator(0, "noise").normal(0.0, 2.0 * NOISE, images.shape)
    noisy = (images + torch.from_numpy(noise).float()).clamp(-1.0, 1.0)
    return {
        "changed_afar": 1.0 - _same(ids[:, far], tokenizer.encode(repainted)[:, far]),
        "kept_under_shift": _same(ids, tokenizer.encode(shifted)),
        "kept_under_noise": _same(ids, tokenizer.encode(noisy)),
        "kept_when_read_again": _same(ids, tokenizer.encode(tokenizer.decode(ids))),
        "ids_of_paper": float(max(_papers(tokenizer))),
    }


def _same(one: torch.Tensor, other: torch.Tensor) -> float:
    return float((one == other).float().mean())


def _far(tokenizer: Tokenizer) -> torch.Tensor:
    """Return which tokens begin at least `AFAR` pixels from the corner: bool (grid, grid)."""
    side = tokenizer.image_size // tokenizer.grid
    begins = torch.arange(tokenizer.grid) * side >= CORNER + AFAR
    return begins[:, None] | begins[None]


def _papers(tokenizer: Tokenizer) -> Sequence[int]:
    """Count the different ids of pictures of one colour each."""
    colours = torch.tensor([[0.9, 0.9, 0.85], [-0.8, -0.8, -0.6], [0.2, -0.5, 0.4]])
    side = tokenizer.image_size
    ids = tokenizer.encode(colours[:, :, None, None].expand(-1, -1, side, side).contiguous())
    return [len(each.unique()) for each in ids]


if __name__ == "__main__":
    main()

"""Measure z of scenes as text, for each way of decoding: whether they repeat, vary, and are right.

The embedded prior draws z (description, boxes, blobs, palette) for captions of new held-out scenes;
real z of the same captions are measured beside them.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from pipelines.core.files import atomic_write
from pipelines.embedded.paths import ROOT
from pipelines.evaluate.adherence.boxes import agrees
from pipelines.evaluate.adherence.truth import TrueZ
from pipelines.evaluate.metrics.calibration import calibration
from pipelines.evaluate.metrics.z_texts import text_metrics
from pipelines.evaluate.observe import Observed
from pipelines.models.prior import Prior
from pipelines.sample.choice import Decoding
from pipelines.sample.decode import Row, draw_rows
from pipelines.sample.likelihood import z_nats
from pipelines.sample.seeds import seeds_of
from pipelines.scenes.heldout import fresh_captions
from pipelines.scenes.reference import asked_shapes, reference_scenes
from pipelines.scenes.truth import z_of_scene
from pipelines.workspace.settings import SampleSettings

KINDS = ("description", "boxes", "blobs", "palette")

DECODINGS = {
    "the prior's own distribution": Decoding(),
    "greedy": Decoding(top_k=1),
    "temperature 0.7": Decoding(temperature=0.7),
    "temperature 1.3": Decoding(temperature=1.3),
    "top-k, k = 40": Decoding(top_k=40),
    "nucleus, p = 0.95": Decoding(top_p=0.95),
    "min-p, 0.05": Decoding(min_p=0.05),
    "typical, 0.95": Decoding(typical_p=0.95),
    "repetition penalty 1.2": Decoding(repetition_penalty=1.2),
    "no 3-gram twice": Decoding(no_repeat_ngram=3),
}

REAL = "real z"

Z = list[list[str]]
"""By caption, one text a z."""


def main() -> None:
    """Measure the shipped prior, or the prior in a folder, and print JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, nargs="?", default=ROOT / "prior")
    parser.add_argument("--captions", type=int, default=8)
    parser.add_argument("--n", type=int, default=16, help="z of each caption and seed.")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--out", type=Path, help="JSON, written after each decoding.")
    options = parser.parse_args()
    torch.set_num_threads(1)
    prior, chosen = Prior.load(options.folder), fresh_captions(options.captions)
    found: dict[str, dict[str, list[float]]] = {}
    real = [
        [real_z(chosen, options.n, seed, purpose) for purpose in ("data", "reference")]
        for seed in range(options.seeds)
    ]
    for name, decoding in (DECODINGS | {REAL: None}).items():
        each = []
        for seed, (data, reference) in enumerate(real):
            z = data if decoding is None else drawn_z(prior, chosen, options.n, seed, decoding)
            each.append(measure(prior, chosen, z, reference))
        found[name] = {key: [values[key] for values in each] for key in each[0]}
        if options.out:
            atomic_write(options.out, json.dumps(found, indent=1).encode())
    print(json.dumps(found, indent=1))


def measure(prior: Prior, captions: Sequence[str], z: Z, reference: Z) -> dict[str, float]:
    """Measure z of captions.

    Args:
        prior: Says how likely z are.
        captions: Captions of scenes.
        z: Their z.
        reference: Real z of the same captions, which calibration compares with.

    Returns:
        The numbers of `text_metrics` and `calibration`; ``agree``, the share of z with the
        captioned shapes and counts; ``perplexity`` of a token under the prior's own distribution.
    """
    seen = observed(z)
    values = text_metrics(seen) | calibration(seen, observed(reference))
    pairs = [(caption, text) for caption, texts in zip(captions, z, strict=True) for text in texts]
    nats = [
        each
        for caption, texts in zip(captions, z, strict=True)
        for each in z_nats(prior, caption, texts)
        if each is not None
    ]
    return {
        "agree": float(np.mean([agrees(text, asked_shapes(caption)) for caption, text in pairs])),
        "perplexity": float(np.exp(np.concatenate(nats).mean())),
        **{key: estimate.value for key, estimate in values.items()},
    }


def drawn_z(prior: Prior, captions: Sequence[str], n: int, seed: int, decoding: Decoding) -> Z:
    """Draw z of captions."""
    settings = SampleSettings(seed=seed)
    found = []
    for caption in captions:
        with torch.inference_mode():
            encoded = prior.encode([caption])
        rows = [Row(encoded, each) for each in seeds_of(settings, "z", caption, range(n))]
        found.append(draw_rows(prior, rows, KINDS, decoding))
    return found


def real_z(captions: Sequence[str], n: int, seed: int, purpose: str) -> Z:
    """Write the z of new scenes of captions."""
    truth = TrueZ(KINDS)
    return [
        [z_of_scene(truth, scene, caption) for scene in reference_scenes(caption, n, seed, purpose)]
        for caption in captions
    ]


def observed(z: Z) -> Observed:
    """Put z where the metrics look for them, without pictures."""
    count, n = len(z), len(z[0])
    return Observed(
        features=np.zeros((count, 1, n, 1), np.float32),
        verdicts=[],
        z=[[texts] for texts in z],
        edges=np.zeros((count, 1, n)),
        colours=np.zeros((count, 1, n, 6)),
        ids=np.zeros((count, 1, n, 2, 0), np.int32),
        shown=np.zeros((0, 0, 1, 1, 3), np.uint8),
    )


if __name__ == "__main__":
    main()

"""A small cell of the embedded models, in few numbers; run this module to record it again."""

import json
from itertools import chain
from pathlib import Path

import numpy as np

from pipelines.embedded.paths import embedded_path
from pipelines.evaluate import cache
from pipelines.evaluate.adherence.tokens import Retokenizer
from pipelines.evaluate.observe import EYE, Eye, observe, samples_of
from pipelines.models.tokenizer import Tokenizer
from pipelines.sample.bundle import load_bundle
from pipelines.sample.engine import run_here
from pipelines.scenes.judge import Judge
from pipelines.workspace.settings import SampleSettings

FILE = Path(__file__).with_name("golden_cell.json")
KINDS = ("description", "boxes", "blobs", "tokens", "palette")
OPTIONS = SampleSettings(n=2, steps=6, cfg=7.5, batch_size=2)
TOLERANCE = {
    "pixels": 1.0,
    "features": 0.02,
    "edges": 1e-5,
    "colours": 0.01,
    "plain": 0.05,
    "boxes": 15.0,
}
"""Absolute differences that another processor may cause."""


def summary():
    """Draw and observe two pictures of one caption, and reduce the cell to a few values."""
    bundle = load_bundle(None).drawing(KINDS)
    judge = Judge.load(embedded_path("judge"))
    reader = Retokenizer(Tokenizer.load(embedded_path("tokenizer")))
    run = run_here({"kaleido": bundle, EYE: Eye(judge.inspect, reader)})
    cell = observe(samples_of("kaleido", OPTIONS, run), run, ["a star and a square"], 0)
    cell = cache.decode_cell(cache.encode_cell(cell))
    found = list(chain.from_iterable(v.objects for v in cell.verdicts[0]))
    blocks = cell.shown[0].reshape(2, 4, 16, 4, 16, 3).mean((2, 4))
    return {
        "z": cell.z[0],
        "labels": [[item.label, *item.attributes.values()] for item in found],
        "backgrounds": [v.background for v in cell.verdicts[0]],
        "boxes": [float(v) for item in found for v in (*item.box, *(item.ellipse or ())[:4])],
        "pixels": blocks.round(1).ravel().tolist(),
        "features": cell.features[0, :, ::4].astype(float).round(3).ravel().tolist(),
        "edges": cell.edges[0].tolist(),
        "colours": np.nan_to_num(cell.colours[0], nan=-1.0).round(4).ravel().tolist(),
        "plain": cell.plain[0, :, ::4].astype(float).round(3).ravel().tolist(),
        "fields": sorted(cell.__dataclass_fields__),
    }


if __name__ == "__main__":
    text = json.dumps({"version": cache.VERSION, **summary()}, indent=1, ensure_ascii=False)
    FILE.write_text(text + "\n", "utf-8")

"""Draw the README's picture: diversity at strong guidance, baseline above Kaleido."""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from PIL import Image

from pipelines.core.contact_sheet import contact_sheet
from pipelines.sample.bundle import load_bundle
from pipelines.sample.draw import draw
from pipelines.workspace.settings import SampleSettings

CAPTIONS = ("two circles and a star", "a heart and a square")
COLUMNS = 8
CFG = 7.5
SEED = 0


def main() -> None:
    """Draw the first samples of fixed seeds, without selection, and write a PNG."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("to", type=Path, nargs="?", default=Path("docs/images/guidance.png"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    groups = []
    for caption in CAPTIONS:
        for baseline in (True, False):
            bundle = load_bundle(None, baseline=baseline)
            title = f"{bundle.name.capitalize()}, CFG {CFG:g}: {caption}"
            samples = list(draw(bundle, caption, SampleSettings(n=COLUMNS, cfg=CFG, seed=SEED)))
            groups.append((title, [sample.pixels for sample in samples]))
    options.to.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(contact_sheet(groups, COLUMNS)).save(options.to, optimize=True)


if __name__ == "__main__":
    main()

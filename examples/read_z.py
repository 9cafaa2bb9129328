"""Draw with the embedded models and print the z of each picture.

    python examples/read_z.py [FOLDER]

The embedded models know scenes of one to three simple shapes, and need no workspace.
"""

from __future__ import annotations

import sys
from pathlib import Path

from PIL import Image

from kaleido_diffusion import SampleSettings, draw, load_models, z_from_text


def main(folder: Path) -> None:
    """Draw four pictures of one caption."""
    folder.mkdir(parents=True, exist_ok=True)
    models = load_models()
    for picture in draw(models, "two circles and a star", SampleSettings(n=4, seed=7)):
        path = folder / f"{picture.index}.png"
        Image.fromarray(picture.pixels).save(path)
        z = z_from_text(picture.z)
        print(path, "boxes of", [item.label for item in z["boxes"].items])


if __name__ == "__main__":
    main(Path((*sys.argv, "pictures")[1]))

"""Change the z of a picture and draw it again: every shape becomes a star.

    python examples/edit_z.py [FOLDER]

Both pictures start from the same noise, so that z makes the difference.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image

from kaleido_diffusion import SampleSettings, draw, draw_from_z, load_models, z_from_text, z_to_text

CAPTION = "two circles and a heart"


def main(folder: Path) -> None:
    """Write before and after beside each other."""
    folder.mkdir(parents=True, exist_ok=True)
    models, settings = load_models(), SampleSettings(n=1, seed=7)
    [before] = draw(models, CAPTION, settings)

    z = dict(z_from_text(before.z))
    for kind in ("boxes", "blobs"):
        items = tuple(replace(item, label="star") for item in z[kind].items)
        z[kind] = replace(z[kind], items=items)
    [after] = draw_from_z(models, CAPTION, [z_to_text(z)], settings)

    path = folder / "before-after.png"
    Image.fromarray(np.hstack([before.pixels, after.pixels])).save(path)
    print(path)


if __name__ == "__main__":
    main(Path((*sys.argv, "pictures")[1]))

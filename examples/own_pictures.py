"""Train on a folder of pictures and draw new ones.

    python examples/own_pictures.py PICTURES WORKSPACE "A CAPTION" [STEPS]

Each picture needs a text file of the same name with its caption. The latent z is the palette, which
needs no detector. Two thousand steps are a beginning; the script can be stopped and run again.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

from kaleido_diffusion import (
    LineProgress,
    Workspace,
    extract,
    override,
    sample,
    train_diffusion,
    train_prior,
    write_folder,
)


def main(pictures: Path, place: Path, caption: str, steps: int) -> None:
    """Run each part; parts that are finished are skipped."""
    progress = LineProgress()
    workspace = Workspace.open(place)
    changes = {
        "prior.steps": steps,
        "diffusion.steps": steps,
        "sample.n": 4,
    }
    workspace = replace(workspace, settings=override(workspace.settings, changes))

    written = write_folder(workspace, pictures, progress=progress)
    for name, reason in written.failures:
        print(f"not used: {name}: {reason}")
    extract(workspace, ("palette",), progress=progress)
    train_prior(workspace, progress=progress)
    train_diffusion(workspace, progress=progress)
    print(sample(workspace, [caption], progress=progress).sheet)


if __name__ == "__main__":
    if len(sys.argv) not in (4, 5):
        sys.exit(__doc__)
    main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], int((*sys.argv, "2000")[4]))

"""How much room JPEGs of the right size take as data, and whether two workers write one's bytes.

A record costs the tar about 1,800 bytes beside its picture (two headers, the JSON, padding), so
data are at most 1.1 times the input where the pictures have 18 kB or more.
"""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image

from pipelines.data.folder import write_folder
from pipelines.workspace.config import override
from pipelines.workspace.workspace import Workspace

PICTURES, SIDE, QUALITIES = 1_000, 256, (75, 90, 95)


def main() -> None:
    """Print the ratio for each quality of JPEG."""
    for quality in QUALITIES:
        with tempfile.TemporaryDirectory() as name:
            root = Path(name)
            given = write_pictures(root / "pictures", quality)
            made = [ingest(root / f"workspace-{workers}", workers, root) for workers in (1, 2)]
            size = sum(map(len, made[0].values()))
            print(
                f"quality {quality}: {given / PICTURES:,.0f} bytes a picture, data "
                f"{size / given:.3f} x the input, two workers "
                + ("the same bytes" if made[0] == made[1] else "OTHER BYTES"),
                flush=True,
            )


def write_pictures(folder: Path, quality: int) -> int:
    """Write pictures with about the detail of photographs, and captions; return their bytes."""
    folder.mkdir()
    rng, (y, x) = np.random.default_rng(0), np.mgrid[0:SIDE, 0:SIDE] / SIDE
    for number in range(PICTURES):
        waves = [
            128 + 90 * np.sin(6 * (a * x + b * y) + 9 * c) + 30 * np.cos(40 * d * x * y)
            for a, b, c, d in rng.random((3, 4))
        ]
        blocks = rng.normal(0, 30, (SIDE // 8, SIDE // 8, 3)).repeat(8, 0).repeat(8, 1)
        grain = rng.normal(0, 6, (SIDE, SIDE, 3))
        pixels = np.clip(np.stack(waves, -1) + blocks + grain, 0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"{number:04d}.jpg", quality=quality)
        (folder / f"{number:04d}.txt").write_text(f"waves number {number}", "utf-8")
    return sum(path.stat().st_size for path in folder.iterdir())


def ingest(place: Path, workers: int, root: Path) -> dict[str, bytes]:
    """Bring the pictures into a new workspace; return its data."""
    workspace = Workspace.init(place)
    settings = override(workspace.settings, {"data.image_size": SIDE})
    write_folder(replace(workspace, settings=settings), root / "pictures", workers=workers)
    return {path.name: path.read_bytes() for path in workspace.data.iterdir()}


if __name__ == "__main__":
    main()

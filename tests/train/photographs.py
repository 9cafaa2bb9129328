"""Pictures of several shapes with one dark square each, and settings for tiny models."""

from __future__ import annotations

import numpy as np

from pipelines.core.images import encode_png
from pipelines.core.record import Record
from pipelines.core.stage import Ok, Stage, StageSpec
from pipelines.data.writer import ShardPlan, Source, write_data
from pipelines.engines.local import LocalEngine
from pipelines.engines.run import run_stages
from pipelines.latents.boxes import Box, Boxes
from pipelines.workspace.workspace import Workspace
from tests.train.conftest import SETTINGS, adapt

SIZES = [(48, 48), (72, 48), (48, 72), (40, 60), (60, 45), (100, 30)]
"""Width and height, of three nearest shapes at 16 pixels and a largest ratio of 1.5."""


def picture(number: int) -> tuple[np.ndarray, Box]:
    """Draw a dark square on light ground, and tell where it is."""
    width, height = SIZES[number % len(SIZES)]
    rng = np.random.default_rng(number)
    side = 14
    left, top = int(rng.integers(width - side)), int(rng.integers(height - side))
    pixels = np.full((height, width, 3), 230, np.uint8)
    pixels[top : top + side, left : left + side] = 20
    edges = (left / width, top / height, (left + side) / width, (top + side) / height)
    return pixels, Box("square", *(round(1000 * edge) for edge in edges))


class Squares(Stage):
    """Finds the square of each picture."""

    spec = StageSpec("squares", 1, "boxes")

    def __call__(self, records):
        return [Ok(Boxes((picture(int(record.key[1:]))[1],))) for record in records]


def write_photographs(workspace: Workspace, count: int = 60) -> Workspace:
    """Write pictures of six sizes in shards of 25, with boxes."""
    settings = SETTINGS | {
        "prior.z_kinds": ("boxes",),
        "diffusion.z_kinds": ("boxes",),
        "diffusion.aspect": 1.5,
        "diffusion.batch_size": 6,
        "diffusion.steps": 8,
        "prior.steps": 3,
    }
    workspace = adapt(workspace, **{key.replace(".", "__"): v for key, v in settings.items()})
    records = [
        Record(f"p{n:03d}", encode_png(picture(n)[0]), "a dark square", {"split": "train"})
        for n in range(count)
    ]
    plans = [
        ShardPlan([at, len(part)], lambda part=part: part)
        for at in range(0, count, 25)
        for part in [records[at : at + 25]]
    ]
    write_data(workspace, Source("squares", 1, {}), plans, count)
    run_stages(workspace, [Squares()], LocalEngine(1))
    return workspace

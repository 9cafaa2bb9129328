"""Write scenes as records and as data shards."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from functools import partial

import numpy as np

from pipelines.core.images import encode_png
from pipelines.core.masks import around_in_fractions, run_lengths
from pipelines.core.processes import Workers
from pipelines.core.progress import SILENT, Progress
from pipelines.core.record import Record
from pipelines.core.seeds import generator
from pipelines.data.writer import DataSummary, ShardPlan, Source, write_data
from pipelines.scenes.captions import caption_scene
from pipelines.scenes.descriptions import describe_scene
from pipelines.scenes.draw import Drawing, draw_scene, ellipse_truth
from pipelines.scenes.factors import Scene, sample_scene
from pipelines.workspace.settings import DRAWN_SIZE
from pipelines.workspace.workspace import Workspace

LICENCE = "CC0-1.0"
VERSION = 2
"""Incremented when the same options produce different scenes."""

TASK = 10
"""Scenes per worker task: about 40 ms of work, so that few workers idle at the end of a shard."""


def scene_of(seed: int, index: int, hard: bool = False) -> tuple[Scene, str]:
    """Draw scene number `index` of a seed, and its caption, independently of all other scenes."""
    rng = generator(seed, "scene-hard" if hard else "scene", index)
    scene = sample_scene(rng, hard)
    return scene, caption_scene(scene, rng)


def make_record(seed: int, index: int, size: int = 64, hard: bool = False) -> Record:
    """Draw one captioned scene as a record, with its ground truth in ``meta``.

    The ground truth is for tests and evaluation; no extractor reads it.
    """
    scene, caption = scene_of(seed, index, hard)
    drawing = draw_scene(scene, size)
    meta = {
        "source": "kaleido scenes",
        "licence": LICENCE,
        "split": scene.split,
        "truth": _truth(scene, drawing),
    }
    return Record(f"scene-{seed}-{index:07d}", encode_png(drawing.pixels), caption, meta)


def make_records(
    n: int, seed: int, size: int = 64, hard: bool = False, start: int = 0
) -> Iterator[Record]:
    """Draw scenes `start` to ``start + n - 1``."""
    for index in range(start, start + n):
        yield make_record(seed, index, size, hard)


def write_scenes(
    workspace: Workspace,
    n: int,
    seed: int | None = None,
    shard_size: int | None = None,
    size: int | None = None,
    hard: bool = False,
    overwrite: bool = False,
    workers: int = 1,
    progress: Progress = SILENT,
) -> DataSummary:
    """Write scenes 0 to ``n - 1`` of a seed to ``data/``, both splits together.

    Args:
        workspace: Where to write.
        n: Number of scenes.
        seed: None takes ``data.seed``.
        shard_size: Records in a shard; None takes ``data.shard_size``.
        size: Side in pixels; None takes ``data.image_size``, or `DRAWN_SIZE`.
        hard: Draw up to six freely placed objects.
        overwrite: Replace data of another source or other options.
        workers: Local processes; 1 draws in this process. The shards do not depend on it.
        progress: Receives progress and messages.

    Raises:
        KaleidoError: If ``data/`` holds other data and `overwrite` is false, or a worker dies.
    """
    settings = workspace.settings.data
    seed = settings.seed if seed is None else seed
    shard_size = shard_size or settings.shard_size
    size = size or settings.image_size or DRAWN_SIZE
    options = {"seed": seed, "size": size, "hard": hard, "shard_size": shard_size}
    source = Source("scenes", VERSION, options)
    with Workers(workers, "data scenes") as pool:
        plans = (
            ShardPlan(
                [start, count := min(shard_size, n - start)],
                partial(_draw, pool, count, seed, size, hard, start),
            )
            for start in range(0, n, shard_size)
        )
        return write_data(workspace, source, plans, n, overwrite, progress)


def _draw(pool: Workers, n: int, seed: int, size: int, hard: bool, start: int) -> Iterator[Record]:
    """Yield the same records as `make_records`, drawn by a pool of workers."""
    end = start + n
    tasks = ((min(TASK, end - at), seed, size, hard, at) for at in range(start, end, TASK))
    for records in pool.in_order(_make_list, tasks):
        yield from records


def _make_list(n: int, seed: int, size: int, hard: bool, start: int) -> list[Record]:
    return list(make_records(n, seed, size, hard, start))


def _truth(scene: Scene, drawing: Drawing) -> dict[str, object]:
    objects = [
        asdict(item)
        | {
            "box": around_in_fractions(mask) if mask.any() else None,
            "visible": round(float(share), 4),
            "ellipse": ellipse_truth(item),
            "mask": run_lengths(mask),
        }
        for item, mask, share in zip(scene.objects, drawing.masks, drawing.visible, strict=True)
    ]
    return {
        "objects": objects,
        "arrangement": scene.arrangement,
        "background": scene.background,
        "description": describe_scene(scene),
    }


def mask_from_runs(runs: list[int], size: int) -> np.ndarray:
    """Decode `run_lengths`: bool (size, size)."""
    values = np.arange(len(runs)) % 2 == 1
    return np.repeat(values, runs).reshape(size, size)

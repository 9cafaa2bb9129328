"""Write emoji as data shards: concepts drawn by several artists, with open licences."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial

import numpy as np

from pipelines.core.batches import in_batches
from pipelines.core.errors import BadRecord, KaleidoError
from pipelines.core.extras import import_extra
from pipelines.core.images import encode_png, open_image
from pipelines.core.progress import SILENT, Progress
from pipelines.core.record import Record
from pipelines.core.seeds import generator
from pipelines.data.convert import attempt, split_of
from pipelines.data.emoji.captions import caption_concept
from pipelines.data.emoji.drawings import LABELS, STYLES, Drawing, Style, read_drawings
from pipelines.data.emoji.packages import Package
from pipelines.data.writer import DataSummary, Row, ShardPlan, Source, write_data
from pipelines.workspace.settings import DRAWN_SIZE, DataSettings
from pipelines.workspace.workspace import Workspace

VERSION = 1
"""Increased when equal options give different records."""

SPLITS = ("pair", "concept")
WHITE = "#ffffff"


def write_emoji(
    workspace: Workspace,
    styles: Sequence[str] = (),
    split: str = "pair",
    overwrite: bool = False,
    progress: Progress = SILENT,
    known: Sequence[Style] = STYLES,
    labels: Package = LABELS,
) -> DataSummary:
    """Fill ``data/`` with emoji, rasterised on white at ``data.image_size`` (0: `DRAWN_SIZE`).

    Packages are downloaded once, to ``downloads/``.

    Args:
        workspace: Where to write.
        styles: Names of styles; empty for all.
        split: ``pair`` holds out single drawings, whose concept other styles show; ``concept``
            holds out concepts, in all styles.
        overwrite: Replace data of another source or other options.
        progress: Receives the progress.
        known: All styles to choose from.
        labels: Package with the concepts' names.

    Raises:
        KaleidoError: If a style or split is unknown, a package cannot be downloaded, or ``data/``
            holds other data.
    """
    settings = workspace.settings.data
    chosen = _choose(styles, known)
    if split not in SPLITS:
        raise KaleidoError(f"split {split!r}", "it is unknown.", f"Use {' or '.join(SPLITS)}.")
    import_extra("resvg_py", "emoji")  # fail before anything is downloaded
    drawings = read_drawings(workspace.downloads, labels, chosen)
    options = {
        "styles": [style.name for style in chosen],
        "split": split,
        "seed": settings.seed,
        "image_size": settings.image_size or DRAWN_SIZE,
        "packages": [str(package) for package in (labels, *(s.package for s in chosen))],
    }
    plans = (
        ShardPlan([d.key for d in part], partial(_rows, part, split, settings))
        for part in in_batches(drawings, settings.shard_size)
    )
    source = Source("emoji", VERSION, options)
    return write_data(workspace, source, plans, len(drawings), overwrite, progress)


def _choose(names: Sequence[str], known: Sequence[Style]) -> list[Style]:
    by_name = {style.name: style for style in known}
    unknown = [name for name in names if name not in by_name]
    if unknown:
        raise KaleidoError(
            ", ".join(unknown), "there is no such style.", f"Choose among {', '.join(by_name)}."
        )
    return [style for style in known if not names or style.name in names]


def _rows(part: Sequence[Drawing], split: str, settings: DataSettings) -> Iterator[Row]:
    for drawing in part:
        yield attempt(drawing.key, drawing.key, partial(_record, drawing, split, settings))


def _record(drawing: Drawing, split: str, settings: DataSettings) -> Record:
    concept = drawing.concept
    meta = {
        "source": "emoji",
        "file": drawing.key,
        "licence": drawing.licence,
        "credit": drawing.credit,
        "split": split_of(drawing.key if split == "pair" else concept.code),
        "concept": concept.label,
        "style": drawing.style,
    }
    pixels = rasterise(drawing.svg, settings.image_size or DRAWN_SIZE, drawing.key)
    caption = caption_concept(concept, generator(settings.seed, "emoji caption", drawing.key))
    return Record(drawing.key, encode_png(pixels), caption, meta)


def rasterise(svg: str, size: int, name: str) -> np.ndarray:
    """Rasterise an SVG on white: uint8 (size, size, 3).

    Raises:
        BadRecord: If it cannot be drawn, or is not square.
    """
    import resvg_py

    try:
        # Text drawn with the system's fonts would differ between machines.
        data = resvg_py.svg_to_bytes(
            svg_string=svg, width=size, height=size, background=WHITE, skip_system_fonts=True
        )
    except ValueError as error:
        raise BadRecord(name, f"it cannot be drawn ({error}).") from error
    pixels = np.asarray(open_image(data, name))
    if pixels.shape != (size, size, 3):
        raise BadRecord(name, f"it is not square: {pixels.shape[1]} x {pixels.shape[0]}.")
    return pixels

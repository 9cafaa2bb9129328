"""Blobs from the user's own masks: a folder of PNGs whose values are instances."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from pipelines.core.errors import BadRecord, InputMissing
from pipelines.core.fingerprint import fingerprint
from pipelines.core.images import MAX_PIXELS
from pipelines.core.masks import around
from pipelines.core.record import Record
from pipelines.core.stage import Failed, Filtered, Outcome, Stage, StageSpec
from pipelines.extract.blobs import fit_blobs
from pipelines.extract.detection import in_order
from pipelines.extract.detectors.base import Detections

ANY = "object"
"""The label of an instance that is not named."""

MODES = ("1", "L", "P", "I;16")
"""Pillow's modes with one value per pixel; in an indexed PNG it is the index, not the colour."""

BATCH = 8
"""Records per call; their masks are held at full size until all of them are fitted."""


class MaskBlobsStage(Stage):
    """``KEY.png`` of a folder -> `Blobs`, in the order of `in_order`.

    0 is background, every other value an instance. ``KEY.json``, if it is there, names them:
    ``{"1": "dog", "2": "ball"}``.

    Args:
        folder: With the masks.
        max_objects: The largest ones are kept.

    Raises:
        InputMissing: If there is no such folder, or no mask in it.
    """

    def __init__(self, folder: Path, max_objects: int) -> None:
        self._folder, self._most = folder, max_objects
        self.spec = StageSpec(
            name="blobs-masks",
            version=2,
            output="blobs",
            batch_size=BATCH,
            options={"masks": _identity(folder), "max_objects": max_objects},
        )

    def __call__(self, records: Sequence[Record]) -> list[Outcome]:
        """Fit an ellipse to each instance; a picture without a file is filtered."""
        outcomes: dict[str, Outcome] = {}
        read: list[tuple[Record, Detections]] = []
        for record in records:
            path = self._folder / f"{record.key}.png"
            if not path.is_file():
                outcomes[record.key] = Filtered("no mask file")
                continue
            try:
                read.append((record, self._read(path, record)))
            except BadRecord as error:
                outcomes[record.key] = Failed(error.why)
        fitted = fit_blobs([found for _, found in read], [record for record, _ in read])
        outcomes |= {pair[0].key: outcome for pair, outcome in zip(read, fitted, strict=True)}
        return [outcomes[record.key] for record in records]

    def _read(self, path: Path, record: Record) -> Detections:
        values = read_mask(path)
        height, width = record.pixels.shape[:2]
        if values.shape[0] * width != values.shape[1] * height:
            size = f"{values.shape[1]} x {values.shape[0]}"
            raise BadRecord(
                str(path),
                f"the mask has {size} pixels, which is not the form of the image, {width} x "
                f"{height}",
            )
        found = instances(values, _names(path.with_suffix(".json")))
        largest = np.argsort(-found.scores, kind="stable")[: self._most]
        return in_order(found.take(largest.tolist()), record.caption)


def read_mask(path: Path) -> np.ndarray:
    """Read an indexed or grey PNG: integers (h, w).

    Raises:
        BadRecord: If it cannot be read, is too large, or has colours.
    """
    try:
        with Image.open(path, formats=("PNG",)) as image:
            if image.width * image.height > MAX_PIXELS:
                raise BadRecord(str(path), f"the mask has more than {MAX_PIXELS:,} pixels")
            if image.mode not in MODES:
                raise BadRecord(
                    str(path), "the mask has colours; it needs one value a pixel: indexed or grey"
                )
            return np.array(image).astype(np.int64)
    except (OSError, UnidentifiedImageError, SyntaxError, Image.DecompressionBombError) as error:
        raise BadRecord(str(path), f"the mask cannot be read ({error})") from error


def instances(values: np.ndarray, names: dict[str, str]) -> Detections:
    """Split a mask: an object for each value but 0, with its share of the picture as its score."""
    found = [int(value) for value in np.unique(values) if value]
    masks = np.array([values == value for value in found], np.float32).reshape(-1, *values.shape)
    return Detections(
        np.array([around(mask) for mask in masks], np.float32).reshape(-1, 4),
        masks.mean((1, 2)),
        tuple(names.get(str(value), ANY) for value in found),
        masks,
    )


def _names(path: Path) -> dict[str, str]:
    if not path.is_file():
        return {}
    try:
        names = json.loads(path.read_text("utf-8"))
        return {str(value): str(name) for value, name in names.items()}
    except (OSError, ValueError, AttributeError, RecursionError) as error:
        raise BadRecord(str(path), f"the names of the mask cannot be read ({error})") from error


def _identity(folder: Path) -> str:
    """Hash the files' names, sizes and times, not their bytes: reading a million takes minutes."""
    if not folder.is_dir():
        raise InputMissing(str(folder), "there is no such folder.", "Check --masks.")
    with os.scandir(folder) as entries:
        files = [
            (entry.name, entry.stat().st_size, entry.stat().st_mtime_ns)
            for entry in entries
            if entry.name.endswith((".png", ".json"))
        ]
    if not files:
        raise InputMissing(
            str(folder), "there are no masks in it.", "Name a folder with KEY.png for each image."
        )
    return fingerprint(sorted(files))

"""Memorization: whether samples are nearer to training pictures than new real pictures are."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property

import numpy as np

from pipelines.core.fingerprint import fingerprint
from pipelines.core.record import Record
from pipelines.evaluate.metrics.diversity import unit
from pipelines.evaluate.metrics.manifolds import BLOCK
from pipelines.evaluate.metrics.statistics import Estimate
from pipelines.evaluate.observe import Observed, Pictures, PictureSource
from pipelines.models.pixels import pixels_of
from pipelines.models.shapes import Shape
from pipelines.workspace.manifest import read_manifest
from pipelines.workspace.shards import records_of
from pipelines.workspace.workspace import Workspace

GROUP = 64
"""Pictures per group."""

NEW = 0.95
"""A sample counts as copied if it is nearer to training than this share of held-out pictures."""


class TrainingPictures:
    """Training pictures in groups, which are observed like the samples of a caption.

    Args:
        records: The records. They stay encoded until needed; pictures whose observations are
            cached are never decoded.
        metadata: Identifies the pictures; None hashes them.
    """

    def __init__(self, records: Iterable[Record], metadata: str = "") -> None:
        self._records, self._metadata = records, metadata

    @cached_property
    def _kept(self) -> list[Record]:
        return list(self._records)

    @cached_property
    def _groups(self) -> dict[str, list[Record]]:
        # All groups have the same size, so the last group overlaps the one before.
        last = max(len(self._kept) - GROUP, 0)
        starts = [*range(0, last, GROUP), last] if self._kept else []
        return {
            f"training {number}": self._kept[start : start + GROUP]
            for number, start in enumerate(starts)
        }

    @property
    def groups(self) -> tuple[str, ...]:
        """Names of the groups; none if there are no records."""
        return tuple(self._groups)

    @cached_property
    def metadata(self) -> str:
        """Identity of the pictures; empty if there are none."""
        if self._metadata or not self._kept:
            return self._metadata
        return fingerprint([digest(record) for record in self._kept])

    def source(self, shape: Shape) -> PictureSource:
        """Return a source of the groups' pictures at a height and width, equal for every seed."""

        def source(groups: Sequence[str], seed: int) -> Iterator[Pictures]:
            for group in groups:
                pixels = [pixels_of(record, shape) for record in self._groups[group]]
                yield [""] * len(pixels), np.stack(pixels)

        return source


def training_pictures(workspace: Workspace, most: int) -> TrainingPictures:
    """Return the training pictures of a workspace, identified by its manifests."""
    shards = [made.sha256 for made in map(read_manifest, workspace.data_shards()) if made]
    metadata = fingerprint(shards, most) if shards else ""
    return TrainingPictures(training_records(workspace, most), metadata)


def training_records(workspace: Workspace, most: int) -> Iterator[Record]:
    """Training records of a workspace, spread evenly over its data.

    Args:
        workspace: The workspace.
        most: Number of records to examine, including held-out records; 0 for all.
    """
    manifests = filter(None, map(read_manifest, workspace.data_shards()))
    total = sum(manifest.counts["ok"] for manifest in manifests)
    most = min(most or total, total)
    records = records_of(workspace.data_shards())
    training = (record for record in records if not record.heldout)
    for number, record in enumerate(training):
        if (number + 1) * most // total > number * most // total:
            yield record


def copies(drawn: Observed, reference: Observed, training: np.ndarray) -> Estimate:
    """Measure the share of samples that are suspiciously near to a training picture.

    A sample counts if its cosine to the nearest training picture exceeds that of the share `NEW`
    of the reference pictures, which the model never saw. A model that does not copy scores at most
    about 1 - `NEW`. Copies of training pictures outside `training` are not detected.

    Args:
        drawn: The samples.
        reference: Held-out real pictures.
        training: (t, d) features of training pictures in the same space.
    """
    limit = np.quantile(nearest(reference.features, training), NEW)
    near = nearest(drawn.features, training) > limit
    return Estimate.mean_of(near.mean(2))


def nearest(features: np.ndarray, training: np.ndarray) -> np.ndarray:
    """Compute the cosine of each vector (..., d) to the nearest of (t, d): (...)."""
    rows, others = unit(features).reshape(-1, features.shape[-1]), unit(training)
    best = [(rows[start : start + BLOCK] @ others.T).max(1) for start in range(0, len(rows), BLOCK)]
    return np.concatenate(best).reshape(features.shape[:-1])


def digest(record: Record) -> str:
    """Hash a record's encoded image."""
    return hashlib.sha256(record.image).hexdigest()

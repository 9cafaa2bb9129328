"""Copying: whether samples lie nearer to training pictures than real ones do that are new."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from functools import cached_property
from itertools import islice

import numpy as np

from pipelines.core.fingerprint import fingerprint
from pipelines.core.manifest import read_manifest
from pipelines.core.record import Record
from pipelines.core.shards import records_of
from pipelines.core.workspace import Workspace
from pipelines.evaluate.metrics.diversity import unit
from pipelines.evaluate.metrics.manifolds import BLOCK
from pipelines.evaluate.metrics.statistics import Estimate
from pipelines.evaluate.observe import Observed, Source
from pipelines.models.pixels import reduced_pixels

MOST = 2048
"""Training pictures that are looked at; of a larger set they are spread evenly."""

GROUP = 64
"""Pictures that are seen together."""

NEW = 0.95
"""Share of the held-out pictures that must lie farther from training than a sample that counts."""


class TrainingPictures:
    """Training pictures in groups, to be seen as the samples of a caption are.

    Args:
        records: At most `MOST` are kept, still encoded; what does not fill a group is left out.
            They are read when they are needed: pictures that were seen before are not.
        facts: What decides the pictures; without, it is a hash of them.
    """

    def __init__(self, records: Iterable[Record], facts: str = "") -> None:
        self._records, self._facts = records, facts

    @cached_property
    def _kept(self) -> list[Record]:
        return list(islice(self._records, MOST))

    @cached_property
    def _groups(self) -> dict[str, list[Record]]:
        size = min(GROUP, max(len(self._kept), 1))
        return {
            f"training {start // size}": self._kept[start : start + size]
            for start in range(0, len(self._kept) - size + 1, size)
        }

    @property
    def groups(self) -> tuple[str, ...]:
        """Names of the groups; none if there are no records."""
        return tuple(self._groups)

    @cached_property
    def facts(self) -> str:
        """What decides the pictures; empty if there are none."""
        if self._facts or not self._kept:
            return self._facts
        return fingerprint([digest(record) for record in self._kept])

    def source(self, side: int) -> Source:
        """A source of the groups' pictures, reduced to `side` pixels; the seed does not matter."""

        def source(group: str, seed: int) -> tuple[list[str], np.ndarray]:
            pixels = [reduced_pixels(record, side) for record in self._groups[group]]
            return [""] * len(pixels), np.stack(pixels)

        return source


def training_pictures(workspace: Workspace) -> TrainingPictures:
    """Those of a workspace's data; its manifests know whether they changed."""
    shards = [made.sha256 for made in map(read_manifest, workspace.data_shards()) if made]
    return TrainingPictures(training_records(workspace), fingerprint(shards) if shards else "")


def training_records(workspace: Workspace, most: int = MOST) -> Iterator[Record]:
    """A workspace's training records, about `most` of them, spread evenly over the data."""
    manifests = filter(None, map(read_manifest, workspace.data_shards()))
    total = sum(manifest.counts["ok"] for manifest in manifests)
    stride = max(-(-total // most), 1)
    records = records_of(workspace.data_shards())
    return islice((record for record in records if not record.heldout), 0, None, stride)


def copies(drawn: Observed, reference: Observed, training: np.ndarray) -> Estimate:
    """Share of samples nearer to a training picture than nearly all new real pictures are.

    Nearness is the cosine to the nearest training picture; "nearly all" is `NEW` of the reference,
    which the model never saw. A model that does not copy scores about 1 - `NEW`, or less.

    Args:
        drawn: The samples.
        reference: Held-out real pictures.
        training: (t, d) features of training pictures, in the same space.
    """
    limit = np.quantile(nearest(reference.features, training), NEW)
    near = nearest(drawn.features, training) > limit
    return Estimate.mean_of(near.mean(2))


def nearest(features: np.ndarray, training: np.ndarray) -> np.ndarray:
    """Cosine of each vector (..., d) to the nearest of (t, d): (...)."""
    rows, others = unit(features).reshape(-1, features.shape[-1]), unit(training)
    best = [(rows[start : start + BLOCK] @ others.T).max(1) for start in range(0, len(rows), BLOCK)]
    return np.concatenate(best).reshape(features.shape[:-1])


def digest(record: Record) -> str:
    """Hash of a record's encoded image."""
    return hashlib.sha256(record.image).hexdigest()

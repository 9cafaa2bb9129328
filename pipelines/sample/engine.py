"""Where pictures of many captions are drawn: in this process, or on the nodes of a Ray cluster.

A task is as many captions as fill a group of z. What is drawn follows from seed, caption and
number, so every engine gives the same pictures, in the order of the captions, on like machines.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from math import gcd
from typing import Protocol

import torch

from pipelines.core.batches import in_batches
from pipelines.core.compute import choose_device
from pipelines.core.errors import KaleidoError
from pipelines.core.extras import import_extra
from pipelines.engines.fleet import Fleet, connected
from pipelines.sample.bundle import Bundle, bundle_hash, load_bundle
from pipelines.sample.control import UNCONTROLLED, Control
from pipelines.sample.decode import ROWS
from pipelines.sample.draw import Sample, draw_each
from pipelines.workspace.settings import SampleSettings
from pipelines.workspace.workspace import Workspace


class DrawEach(Protocol):
    """Draws samples of each caption, as `pipelines.sample.draw.draw_each`."""

    def __call__(
        self,
        bundle: Bundle,
        captions: Sequence[str],
        settings: SampleSettings,
        control: Control = UNCONTROLLED,
    ) -> Iterator[Iterator[Sample]]:
        """Yield the samples of each caption, in order."""
        ...


@contextmanager
def drawing(workspace: Workspace, bundles: Sequence[Bundle]) -> Iterator[DrawEach]:
    """Yield what draws pictures, by the ``[drawing]`` settings.

    Args:
        workspace: Its folder need not be seen by the nodes if the embedded models draw.
        bundles: The models that will draw; their names differ.

    Raises:
        KaleidoError: If a cluster cannot be used; while drawing also if a node has other models
            (``model-mismatch``) or tasks lose their processes (``worker-died``).
    """
    settings = workspace.settings.drawing
    if settings.engine == "local":
        yield draw_each
        return
    ray = import_extra("ray", "ray")
    models = {
        bundle.name: _Model(bundle.source, bundle.chosen_kinds, bundle_hash(bundle))
        for bundle in bundles
    }
    order = _Order(workspace, models, torch.get_num_threads())
    with connected(ray, settings.address):
        has_gpus = bool(ray.cluster_resources().get("GPU"))
        cpus = 1 if has_gpus else order.threads
        process: Callable[[], DrawProcess] = partial(DrawProcess, order)
        yield _OnCluster(
            Fleet(ray, process, "drawing", settings.workers, cpus, 1, settings.address)
        )


@dataclass(frozen=True)
class _Model:
    """What a node must load.

    Attributes:
        source: ``workspace`` or ``embedded``.
        chosen_kinds: As in `Bundle`.
        hash: Of the models as the driver has them.
    """

    source: str
    chosen_kinds: tuple[str, ...] | None
    hash: str


@dataclass(frozen=True)
class _Order:
    """What every process of a run is told.

    Attributes:
        workspace: Its folder has the same path on all nodes.
        models: By name.
        threads: With which each computes: sums in another order are other sums.
    """

    workspace: Workspace
    models: Mapping[str, _Model]
    threads: int


@dataclass(frozen=True)
class _Task:
    """Captions to draw, and how."""

    model: str
    captions: tuple[str, ...]
    settings: SampleSettings
    control: Control


class DrawProcess:
    """A `pipelines.engines.fleet.Process` that draws; it loads each model once.

    Args:
        order: What the process is told.
    """

    def __init__(self, order: _Order) -> None:
        self._order = order
        self._bundles: dict[str, Bundle] = {}

    def prepare(self) -> None:
        """Load the models as they are on this node.

        Raises:
            KaleidoError: If they are missing or others than the driver's.
        """
        choose_device(self._order.workspace.settings.compute.device)
        torch.set_num_threads(self._order.threads)
        for name, model in self._order.models.items():
            is_embedded = model.source == "embedded"
            found = load_bundle(self._order.workspace, name == "baseline", is_embedded)
            found = replace(found, chosen_kinds=model.chosen_kinds)
            if bundle_hash(found) != model.hash:
                raise KaleidoError(
                    f"{model.source} models",
                    "a node of the cluster has others than this machine.",
                    "Keep the workspace on a disk that all nodes share under one path, and install "
                    "the same version of Kaleido on all nodes.",
                    code="model-mismatch",
                )
            self._bundles[name] = found

    def compute(self, task: _Task) -> list[list[Sample]]:
        """Draw the samples of some captions."""
        bundle = self._bundles[task.model]
        drawn = draw_each(bundle, task.captions, task.settings, task.control)
        return [list(samples) for samples in drawn]


@dataclass(frozen=True)
class _OnCluster:
    """Draws with a fleet, see `DrawEach`."""

    fleet: Fleet

    def __call__(
        self,
        bundle: Bundle,
        captions: Sequence[str],
        settings: SampleSettings,
        control: Control = UNCONTROLLED,
    ) -> Iterator[Iterator[Sample]]:
        tasks = [
            _Task(bundle.name, tuple(group), settings, control)
            for group in in_batches(captions, ROWS // gcd(settings.n, ROWS))
        ]
        names = [f"caption {task.captions[0][:40]!r}" for task in tasks]
        for groups in self.fleet.in_order(tasks, names):
            yield from map(iter, groups)

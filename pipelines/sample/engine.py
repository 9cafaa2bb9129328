"""Where many pictures are drawn and looked at: in this process, or on the nodes of a Ray cluster.

What is to be done is cut into jobs. A job's results follow from the job and from models alone, and
come in the order of the jobs, so every engine gives the same on like machines.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Protocol

from pipelines.core.compute import choose_device
from pipelines.core.errors import KaleidoError
from pipelines.core.extras import import_extra
from pipelines.engines.fleet import Fleet, connected
from pipelines.sample.bundle import Bundle, bundle_hash, load_bundle
from pipelines.workspace.workspace import Workspace


class Job(Protocol):
    """A part of the work that one process does at once; it is pickled."""

    @property
    def name(self) -> str:
        """What to call it in errors."""
        ...

    def run(self, tools: Mapping[str, Any]) -> Iterator[Any]:
        """Yield the results, as they are computed.

        Args:
            tools: What is loaded once, by name, for example models.
        """
        ...


Run = Callable[[Iterable[Job]], Iterator[Any]]
"""Runs jobs, and yields the results of all of them, in order."""


class Loadable(Protocol):
    """Loads a tool on another machine; it is pickled."""

    def load(self, workspace: Workspace) -> Any:
        """Load it.

        Raises:
            KaleidoError: If it is missing there, or another one than the driver's.
        """
        ...


def run_here(tools: Mapping[str, Any]) -> Run:
    """Return what runs jobs in this process, each when its results are asked for."""

    def run(jobs: Iterable[Job]) -> Iterator[Any]:
        for job in jobs:
            yield from job.run(tools)

    return run


@contextmanager
def running(
    workspace: Workspace, tools: Mapping[str, Any], elsewhere: Mapping[str, Loadable]
) -> Iterator[Run]:
    """Yield what runs jobs, by the ``[drawing]`` settings.

    Args:
        workspace: Its folder need not be seen by nodes that load nothing from it.
        tools: What the jobs need, loaded here.
        elsewhere: How a node loads each of them.

    Raises:
        KaleidoError: If a cluster cannot be used; while jobs run also if a node has other models
            (``model-mismatch``) or jobs lose their processes (``worker-died``).
    """
    settings = workspace.settings.drawing
    if settings.engine == "local":
        yield run_here(tools)
        return
    import torch

    ray = import_extra("ray", "ray")
    order = _Order(workspace, elsewhere, torch.get_num_threads())
    with connected(ray, settings.address):
        cpus = 1 if ray.cluster_resources().get("GPU") else order.threads
        process: Callable[[], JobProcess] = partial(JobProcess, order)
        fleet = Fleet(ray, process, "drawing", settings.workers, cpus, 1, settings.address)

        def run(jobs: Iterable[Job]) -> Iterator[Any]:
            for results in fleet.in_order((job.name, job) for job in jobs):
                yield from results

        yield run


@dataclass(frozen=True)
class _Order:
    """What every process of a run is told.

    Attributes:
        workspace: Its folder has the same path on all nodes.
        tools: By name.
        threads: With which each computes: sums in another order are other sums.
    """

    workspace: Workspace
    tools: Mapping[str, Loadable]
    threads: int


class JobProcess:
    """A `pipelines.engines.fleet.Process` that runs jobs; it loads each tool once.

    Args:
        order: What the process is told.
    """

    def __init__(self, order: _Order) -> None:
        self._order = order
        self._tools: dict[str, Any] = {}

    def prepare(self) -> None:
        """Load the tools as they are on this node.

        Raises:
            KaleidoError: If they are missing or others than the driver's.
        """
        import torch

        choose_device(self._order.workspace.settings.compute.device)
        torch.set_num_threads(self._order.threads)
        for name, tool in self._order.tools.items():
            self._tools[name] = tool.load(self._order.workspace)

    def compute(self, task: Job) -> list[Any]:
        """Run a job."""
        return list(task.run(self._tools))


@dataclass(frozen=True)
class SameBundle:
    """Loads a bundle on another machine.

    Attributes:
        name: Its name.
        source: ``workspace`` or ``embedded``.
        chosen_kinds: As in `Bundle`.
        hash: Of the models as the driver has them.
    """

    name: str
    source: str
    chosen_kinds: tuple[str, ...] | None
    hash: str

    @classmethod
    def of(cls, bundle: Bundle) -> SameBundle:
        """Describe a bundle that is loaded."""
        return cls(bundle.name, bundle.source, bundle.chosen_kinds, bundle_hash(bundle))

    def load(self, workspace: Workspace) -> Bundle:
        """Load it.

        Raises:
            KaleidoError: If the models are missing or others than the driver's.
        """
        found = load_bundle(workspace, self.name == "baseline", self.source == "embedded")
        found = replace(found, chosen_kinds=self.chosen_kinds)
        require_same(f"{self.source} models", bundle_hash(found), self.hash)
        return found


def require_same(what: str, found: object, wanted: object) -> None:
    """Raise KaleidoError (``model-mismatch``) if a node has another tool than the driver."""
    if found != wanted:
        raise KaleidoError(
            what,
            "a node of the cluster has others than this machine.",
            "Keep the workspace on a disk that all nodes share under one path, and install "
            "the same version of Kaleido and the same models on all nodes.",
            code="model-mismatch",
        )


def bundles_of(bundles: Sequence[Bundle]) -> tuple[dict[str, Any], dict[str, Loadable]]:
    """Return bundles as tools by name, loaded here and as another machine loads them."""
    named = {bundle.name: bundle for bundle in bundles}
    return dict(named), {name: SameBundle.of(bundle) for name, bundle in named.items()}

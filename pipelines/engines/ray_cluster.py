"""The engine of a Ray cluster: one process per shard on any of its nodes.

The nodes share the workspace's folder, for example over NFS. Each process builds the stages anew
and finds the models where its own machine has them, and their specs must be those of the driver. A
task is a shard; its process writes it, and only "done" travels back. Ray Data is not used, because
its blocks would decide the names of shards.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

from pipelines.core.compute import choose_device
from pipelines.core.errors import KaleidoError
from pipelines.core.extras import import_extra
from pipelines.core.processes import check_workers
from pipelines.core.progress import Advance
from pipelines.core.stage import StageGroup, StageSpec
from pipelines.engines.fleet import PATIENCE, Fleet, connected
from pipelines.engines.tasks import ShardTask, specs_of
from pipelines.engines.work import ShardWorker
from pipelines.workspace.workspace import LOCKS, SETTINGS_FILE, Workspace

Recipe = Callable[[Workspace, Sequence[str]], Sequence[StageGroup]]
"""Builds the stages of kinds on the machine where it is called; it is pickled."""


@dataclass(frozen=True)
class RayEngine:
    """An `pipelines.engines.base.Engine` on a Ray cluster.

    Attributes:
        recipe: Builds the stages on a node.
        workers: Most processes, over all nodes.
        address: Of the cluster, as `ray.init` takes it; empty for the one of ``RAY_ADDRESS`` or of
            this machine, and a new one on this machine if there is none.
        patience: See `PATIENCE`.

    Raises:
        KaleidoError: If `workers` is below 1.
    """

    recipe: Recipe
    workers: int = 1
    address: str = ""
    patience: float = PATIENCE

    def __post_init__(self) -> None:
        """Check the number of workers."""
        check_workers(self.workers)

    def run(
        self,
        workspace: Workspace,
        stages: Sequence[StageGroup],
        tasks: Sequence[ShardTask],
        advance: Advance,
    ) -> None:
        """Compute and write shards, see `pipelines.engines.base.Engine.run`.

        A shard whose process or node is lost goes to another one; an error of a stage ends the run.

        Raises:
            KaleidoError: Also if the cluster cannot be reached, has no room for a process, or has a
                node that lacks the workspace or a model (``cluster``, ``model-mismatch``).
        """
        ray = import_extra("ray", "ray")
        specs = specs_of(stages)
        with connected(ray, self.address), _probe(workspace) as probe:
            order = _Order(workspace, self.recipe, specs, probe)
            fleet = Fleet(
                ray,
                partial(ShardProcess, order),
                f"extract {', '.join(spec.output for spec in specs)}",
                self.workers,
                specs[0].resources.get("threads", 1),
                max(spec.resources.get("gpus", 0) for spec in specs),
                self.address,
                self.patience,
            )
            for number, _ in fleet.run((task.data_shard.name, task) for task in tasks):
                advance(tasks[number].records)


@dataclass(frozen=True)
class _Order:
    """What every process of a run is told.

    Attributes:
        workspace: Its folder has the same path on all nodes.
        recipe: Builds the stages.
        specs: Those of the driver.
        probe: Name of a file that the driver wrote into the workspace.
    """

    workspace: Workspace
    recipe: Recipe
    specs: Sequence[StageSpec]
    probe: str


class ShardProcess:
    """A `pipelines.engines.fleet.Process` that computes shards."""

    def __init__(self, order: _Order) -> None:
        self._order = order

    def prepare(self) -> None:
        """Build the stages as they are on this node.

        Raises:
            KaleidoError: If the node does not see the workspace, or has other models.
        """
        order, root = self._order, self._order.workspace.root
        if not (root / SETTINGS_FILE).is_file() or not (root / LOCKS / order.probe).is_file():
            raise KaleidoError(
                str(root),
                "a node of the cluster does not see this folder.",
                "Keep the workspace on a disk that all nodes share under one path. Without one, "
                "`kaleido pull` and `kaleido extract --part` do the same work.",
                code="cluster",
            )
        choose_device(order.workspace.settings.compute.device)
        stages = order.recipe(order.workspace, [spec.output for spec in order.specs])
        for ours, theirs in zip(specs_of(stages), order.specs, strict=True):
            _require_equal(ours, theirs)
        self._worker = ShardWorker(order.workspace, stages)

    def compute(self, task: ShardTask) -> None:
        """Compute and write a shard."""
        self._worker.run(task, advance=lambda n, note="": None)


def _require_equal(ours: StageSpec, theirs: StageSpec) -> None:
    if ours == theirs:
        return
    names = {*ours.options, *theirs.options}
    differing = sorted(n for n in names if ours.options.get(n) != theirs.options.get(n))
    raise KaleidoError(
        f"extract {theirs.output}",
        f"a node of the cluster has another {', '.join(differing) or 'version of Kaleido'}.",
        "Install the same version of Kaleido and the same models on all nodes.",
        code="model-mismatch",
    )


@contextmanager
def _probe(workspace: Workspace) -> Iterator[str]:
    """Write a file by which a node tells this workspace from another folder of the same path."""
    path = workspace.root / LOCKS / f"cluster-{secrets.token_hex(8)}"
    path.touch()
    try:
        yield path.name
    finally:
        path.unlink(missing_ok=True)

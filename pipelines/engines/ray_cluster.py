"""The engine of a Ray cluster: one process per shard on any of its nodes.

The nodes share the workspace's folder, for example over NFS. Each process builds the stages anew
and finds the models where its own machine has them, and their specs must be those of the driver. A
task is a shard; its process writes it, and only "done" travels back. Ray Data is not used, because
its blocks would decide the names of shards.
"""

from __future__ import annotations

import secrets
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from time import monotonic
from typing import Any

from pipelines.core.errors import KaleidoError
from pipelines.core.extras import import_extra
from pipelines.core.processes import check_workers
from pipelines.core.progress import Advance
from pipelines.core.stage import StageGroup, StageSpec
from pipelines.engines.tasks import ShardTask, specs_of
from pipelines.engines.work import ShardWorker
from pipelines.workspace.workspace import LOCKS, SETTINGS_FILE, Workspace

Recipe = Callable[[Workspace, Sequence[str]], Sequence[StageGroup]]
"""Builds the stages of kinds on the machine where it is called; it is pickled."""

ATTEMPTS = 3
"""How often a shard is tried before the loss of its process counts as its own fault."""

PATIENCE = 300.0
"""Seconds without any process at work, after which a run ends. An autoscaler has this long to
start a node."""

_ASK = 1.0
"""Seconds between two looks at a cluster in which nothing has happened."""


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
        with _connected(ray, self.address), _probe(workspace) as probe:
            fleet = _Fleet(ray, _Order(workspace, self.recipe, specs_of(stages), probe), self)
            fleet.run(tasks, advance)


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
    """A process on a node; Ray makes it an actor."""

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


@dataclass
class _Fleet:
    """The processes of a run, and the shards that they are given one at a time.

    A process that is lost is replaced while shards are left. One that has not started, because the
    cluster has no room for it, gets no shard, so a small cluster is only slower.
    """

    ray: Any
    order: _Order
    engine: RayEngine
    starting: dict[Any, Any] = field(default_factory=dict)
    busy: dict[Any, tuple[Any, ShardTask]] = field(default_factory=dict)
    losses: Counter[str] = field(default_factory=Counter)

    def run(self, tasks: Sequence[ShardTask], advance: Advance) -> None:
        """Compute shards; all processes end with the connection."""
        waiting = deque(tasks)
        for _ in range(min(self.engine.workers, len(tasks))):
            self._start()
        heard = monotonic()
        while waiting or self.busy:
            refs = [*self.starting, *self.busy]
            ready, _ = self.ray.wait(refs, num_returns=1, timeout=_ASK)
            for ref in ready:
                if ref in self.starting:
                    self._started(ref, waiting)
                else:
                    self._ended(ref, waiting, advance)
            if ready or self.busy:
                heard = monotonic()
            elif monotonic() - heard > self.engine.patience:
                raise self._no_room()

    def _start(self) -> None:
        resources = [spec.resources for spec in self.order.specs]
        gpus = max(each.get("gpus", 0) for each in resources)
        actor = (
            self.ray.remote(ShardProcess)
            .options(
                num_cpus=resources[0].get("threads", 1),
                num_gpus=min(gpus, self.ray.cluster_resources().get("GPU", 0)),
                max_restarts=0,
            )
            .remote(self.order)
        )
        self.starting[actor.prepare.remote()] = actor

    def _started(self, ref: Any, waiting: deque[ShardTask]) -> None:
        actor = self.starting.pop(ref)
        if not self._result(ref):
            self._lose("a process that was starting")
            self._start()
        elif waiting:
            self._give(actor, waiting.popleft())

    def _ended(self, ref: Any, waiting: deque[ShardTask], advance: Advance) -> None:
        actor, task = self.busy.pop(ref)
        if self._result(ref):
            advance(task.records)
            if waiting:
                self._give(actor, waiting.popleft())
        else:
            self._lose(task.data_shard.name)
            waiting.append(task)
            self._start()

    def _give(self, actor: Any, task: ShardTask) -> None:
        self.busy[actor.compute.remote(task)] = actor, task

    def _result(self, ref: Any) -> bool:
        """Return whether a call ended well; False if its process or node was lost.

        Raises:
            Exception: What the call itself raised.
        """
        try:
            self.ray.get(ref)
        except self.ray.exceptions.RayTaskError as error:
            raise error.cause from error
        except self.ray.exceptions.RayError:
            return False
        return True

    def _lose(self, name: str) -> None:
        self.losses[name] += 1
        if self.losses[name] < ATTEMPTS:
            return
        raise KaleidoError(
            f"extract {', '.join(spec.output for spec in self.order.specs)}",
            f"{name} lost its process or node {ATTEMPTS} times.",
            "It may need more memory than a node has: use a smaller model or fewer --workers. "
            "Finished shards are kept.",
            code="worker-died",
        )

    def _no_room(self) -> KaleidoError:
        return KaleidoError(
            f"Ray cluster {self.engine.address}".rstrip(),
            f"no process could start for {self.engine.patience:.0f} seconds.",
            "Start nodes with free CPUs (and GPUs, if the cluster has any), or stop other jobs.",
            code="cluster",
        )


@contextmanager
def _connected(ray: Any, address: str) -> Iterator[None]:
    """Connect to a cluster, or start one on this machine that ends with the connection.

    A program that has connected already, keeps its connection.
    """
    if ray.is_initialized():
        yield
        return
    try:
        ray.init(address=address or None, log_to_driver=False, logging_level="ERROR")
    except Exception as error:  # Ray raises errors of many kinds
        raise KaleidoError(
            f"Ray cluster {address}".rstrip(),
            f"it cannot be reached ({str(error).splitlines()[0]}).",
            "Give the address that `ray start --head` has printed.",
            code="cluster",
        ) from error
    try:
        yield
    finally:
        ray.shutdown()


@contextmanager
def _probe(workspace: Workspace) -> Iterator[str]:
    """Write a file by which a node tells this workspace from another folder of the same path."""
    path = workspace.root / LOCKS / f"cluster-{secrets.token_hex(8)}"
    path.touch()
    try:
        yield path.name
    finally:
        path.unlink(missing_ok=True)

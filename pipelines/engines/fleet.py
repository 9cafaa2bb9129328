"""A fleet: processes on the nodes of a Ray cluster, and the tasks that they are given.

It knows nothing of what the processes compute. Each is prepared once, for example loads a model,
and then computes one task at a time.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from time import monotonic
from typing import Any, Protocol

from pipelines.core.errors import KaleidoError

ATTEMPTS = 3
"""How often a task is tried before the loss of its process counts as its own fault."""

PATIENCE = 300.0
"""Seconds without any process at work, after which a run ends. An autoscaler has this long to
start a node."""

_ASK = 1.0
"""Seconds between two looks at a cluster in which nothing has happened."""


class Process(Protocol):
    """What Ray makes an actor of."""

    def prepare(self) -> None:
        """Make ready, on the node where the process runs.

        Raises:
            KaleidoError: If the node is not as the others.
        """
        ...

    def compute(self, task: Any) -> Any:
        """Compute a task; what it returns travels to the driver."""
        ...


@dataclass
class Fleet:
    """Processes that are started as tasks need them, and replaced if they are lost.

    One that has not started, because the cluster has no room for it, gets no task, so a small
    cluster is only slower. All of them end with the connection.

    Attributes:
        ray: The package.
        process: Makes a `Process`, on its node.
        what: What is done, for errors.
        workers: Most processes.
        cpus: CPUs that each takes.
        gpus: GPUs that each takes, if the cluster has any.
        address: Of the cluster, for errors.
        patience: See `PATIENCE`.
    """

    ray: Any
    process: Callable[[], Process]
    what: str
    workers: int
    cpus: int = 1
    gpus: float = 0
    address: str = ""
    patience: float = PATIENCE
    _starting: dict[Any, Any] = field(default_factory=dict)
    _busy: dict[Any, tuple[Any, int]] = field(default_factory=dict)
    _idle: list[Any] = field(default_factory=list)

    def run(self, tasks: Sequence[Any], names: Sequence[str]) -> Iterator[tuple[int, Any]]:
        """Compute tasks, in any order.

        Args:
            tasks: What the processes compute; pickled.
            names: What to call each of them in errors.

        Yields:
            The number of a task that is done, and what it returned.

        Raises:
            KaleidoError: If a task loses its process `ATTEMPTS` times (``worker-died``), the
                cluster has no room for any process (``cluster``), or as a process raises it.
        """
        waiting, losses = deque(range(len(tasks))), Counter[str]()
        for _ in range(min(self.workers, len(tasks)) - len(self._starting) - len(self._idle)):
            self._start()
        heard = monotonic()
        while waiting or self._busy:
            while waiting and self._idle:
                number = waiting.popleft()
                actor = self._idle.pop()
                self._busy[actor.compute.remote(tasks[number])] = actor, number
            ready, _ = self.ray.wait([*self._starting, *self._busy], num_returns=1, timeout=_ASK)
            for ref in ready:
                is_alive, result = self._result(ref)
                if ref in self._starting:
                    actor, number = self._starting.pop(ref), -1
                    name = "a process that was starting"
                else:
                    actor, number = self._busy.pop(ref)
                    name = names[number]
                if is_alive:
                    self._idle.append(actor)
                    if number >= 0:
                        yield number, result
                    continue
                self._lose(name, losses)
                if number >= 0:
                    waiting.appendleft(number)
                self._start()
            if ready or self._busy:
                heard = monotonic()
            elif monotonic() - heard > self.patience:
                raise self._no_room()

    def in_order(self, tasks: Sequence[Any], names: Sequence[str]) -> Iterator[Any]:
        """Compute tasks as `run` does, and yield what they return in the order of the tasks.

        Results that come early wait in memory.
        """
        early: dict[int, Any] = {}
        wanted = 0
        for number, result in self.run(tasks, names):
            early[number] = result
            while wanted in early:
                yield early.pop(wanted)
                wanted += 1

    def _start(self) -> None:
        gpus = min(self.gpus, self.ray.cluster_resources().get("GPU", 0))
        actor = (
            self.ray.remote(_Actor)
            .options(num_cpus=self.cpus, num_gpus=gpus, max_restarts=0)
            .remote(self.process)
        )
        self._starting[actor.prepare.remote()] = actor

    def _result(self, ref: Any) -> tuple[bool, Any]:
        """Return whether a call ended well, and its result; False if its process or node was lost.

        Raises:
            Exception: What the call itself raised.
        """
        try:
            return True, self.ray.get(ref)
        except self.ray.exceptions.RayTaskError as error:
            raise error.cause from error
        except self.ray.exceptions.RayError:
            return False, None

    def _lose(self, name: str, losses: Counter[str]) -> None:
        losses[name] += 1
        if losses[name] < ATTEMPTS:
            return
        raise KaleidoError(
            self.what,
            f"{name} lost its process or node {ATTEMPTS} times.",
            "It may need more memory than a node has: use a smaller model or fewer --workers. "
            "Finished work is kept.",
            code="worker-died",
        )

    def _no_room(self) -> KaleidoError:
        return KaleidoError(
            f"Ray cluster {self.address}".rstrip(),
            f"no process could start for {self.patience:.0f} seconds.",
            f"Start nodes with {self.cpus} free CPUs (and GPUs, if the cluster has any), or stop "
            "other jobs.",
            code="cluster",
        )


class _Actor:
    """Makes its process in itself, because that may not be pickled once it is ready."""

    def __init__(self, process: Callable[[], Process]) -> None:
        self._make = process

    def prepare(self) -> None:
        self._process = self._make()
        self._process.prepare()

    def compute(self, task: Any) -> Any:
        return self._process.compute(task)


@contextmanager
def connected(ray: Any, address: str) -> Iterator[None]:
    """Connect to a cluster, or start one on this machine that ends with the connection.

    A program that has connected already, keeps its connection.

    Args:
        ray: The package.
        address: As `ray.init` takes it; empty for the one of ``RAY_ADDRESS`` or of this machine,
            and a new one on this machine if there is none.

    Raises:
        KaleidoError: If it cannot be reached (``cluster``).
    """
    if ray.is_initialized():
        yield
        return
    try:
        ray.init(
            address=address or None,
            log_to_driver=False,
            logging_level="ERROR",
            include_dashboard=None if address else False,
        )
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

"""A fleet: processes on the nodes of a Ray cluster, and the tasks that they are given.

It knows nothing of what the processes compute. Each is prepared once, for example loads a model,
and then computes one task at a time.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from heapq import heappop, heappush
from itertools import starmap
from time import monotonic
from typing import Any, Protocol

from pipelines.core.errors import KaleidoError

ATTEMPTS = 3
"""How often a task is tried before the loss of its process counts as its own fault."""

PATIENCE = 300.0
"""Seconds without any process at work, after which a run ends. An autoscaler has this long to
start a node."""

AHEAD = 3
"""Tasks for each process that are given out before the first of them is taken back."""

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


@dataclass(eq=False)
class _Ticket:
    """A task that a fleet was given.

    Attributes:
        number: Tasks are begun in the order of these numbers.
        name: What to call it in errors.
        task: What a process computes; pickled.
        result: What the process returned, once `is_done`.
        is_done: Whether it is computed.
    """

    number: int
    name: str
    task: Any
    result: Any = None
    is_done: bool = False

    def __lt__(self, other: _Ticket) -> bool:
        return self.number < other.number


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
    _busy: dict[Any, tuple[Any, _Ticket]] = field(default_factory=dict)
    _idle: list[Any] = field(default_factory=list)
    _waiting: list[_Ticket] = field(default_factory=list)
    _losses: Counter[str] = field(default_factory=Counter)
    _given: int = 0

    def run(self, tasks: Iterable[tuple[str, Any]]) -> Iterator[tuple[int, Any]]:
        """Compute tasks, in any order.

        Args:
            tasks: Name and task of each; all of them are read at once.

        Yields:
            The number of a task that is done, and what it returned.

        Raises:
            KaleidoError: As `in_order`.
        """
        numbers = {ticket: n for n, ticket in enumerate(starmap(self._submit, tasks))}
        while numbers:
            for ticket in self._step():
                yield numbers.pop(ticket), ticket.result

    def in_order(self, tasks: Iterable[tuple[str, Any]]) -> Iterator[Any]:
        """Compute tasks, and yield what they return in their order.

        At most `AHEAD` tasks a process are read and not yielded, so that a slow one keeps few
        results of later ones in memory. Several such iterators may share the fleet, and one may
        read its tasks from another.

        Args:
            tasks: Name and task of each.

        Raises:
            KaleidoError: If a task loses its process `ATTEMPTS` times (``worker-died``), the
                cluster has no room for any process (``cluster``), or as a process raises it.
        """
        given = deque[_Ticket]()
        for name, task in tasks:
            given.append(self._submit(name, task))
            if len(given) >= AHEAD * self.workers:
                yield self._result_of(given.popleft())
        while given:
            yield self._result_of(given.popleft())

    def _submit(self, name: str, task: Any) -> _Ticket:
        ticket = _Ticket(self._given, name, task)
        self._given += 1
        heappush(self._waiting, ticket)
        started = len(self._starting) + len(self._idle) + len(self._busy)
        if started < min(self.workers, len(self._waiting) + len(self._busy)):
            self._start()
        self._hand_out()
        return ticket

    def _result_of(self, ticket: _Ticket) -> Any:
        while not ticket.is_done:
            self._step()
        return ticket.result

    def _hand_out(self) -> None:
        while self._waiting and self._idle:
            ticket, actor = heappop(self._waiting), self._idle.pop()
            self._busy[actor.compute.remote(ticket.task)] = actor, ticket

    def _step(self) -> list[_Ticket]:
        """Wait until something has happened, and return the tasks that are done."""
        done: list[_Ticket] = []
        heard = monotonic()
        while not done:
            refs = [*self._starting, *self._busy]
            ready, _ = self.ray.wait(refs, num_returns=1, timeout=_ASK)
            for ref in ready:
                done += self._settle(ref)
            self._hand_out()
            if ready or self._busy:
                heard = monotonic()
            elif monotonic() - heard > self.patience:
                raise self._no_room()
        return done

    def _settle(self, ref: Any) -> list[_Ticket]:
        """Take the result of a call, or replace its process; return the task that is done."""
        is_alive, result = self._result(ref)
        if ref in self._starting:
            actor, ticket = self._starting.pop(ref), None
        else:
            actor, ticket = self._busy.pop(ref)
        if is_alive:
            self._idle.append(actor)
            if ticket is None:
                return []
            ticket.result, ticket.is_done = result, True
            return [ticket]
        self._lose("a process that was starting" if ticket is None else ticket.name)
        if ticket is not None:
            heappush(self._waiting, ticket)
        self._start()
        return []

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

    def _lose(self, name: str) -> None:
        self._losses[name] += 1
        if self._losses[name] < ATTEMPTS:
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

"""What a fleet does with tasks and lost processes, on a cluster in this process."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from pipelines.core.errors import KaleidoError
from pipelines.engines import fleet as module
from pipelines.engines.fleet import AHEAD, ATTEMPTS, Fleet, connected


class RayError(Exception):
    pass


class RayTaskError(RayError):
    def __init__(self, cause: Exception) -> None:
        self.cause = cause


class Cluster:
    """The part of Ray that a fleet uses. Calls are computed when they are waited for.

    Args:
        room: How many processes start; the others wait for ever.
        gpus: That it has.
        newest: Whether all processes start first, and then the last call ends first.
    """

    exceptions = SimpleNamespace(RayError=RayError, RayTaskError=RayTaskError)

    def __init__(self, room: int = 99, gpus: float = 0, newest: bool = False) -> None:
        self.room, self.gpus, self.newest = room, gpus, newest
        self.started: list[dict[str, Any]] = []
        self.waits: list[tuple[int, float]] = []

    def cluster_resources(self) -> dict[str, float]:
        return {"CPU": 8.0} | ({"GPU": self.gpus} if self.gpus else {})

    def remote(self, actor: type) -> Any:
        def options(**asked: Any) -> Any:
            def start(*arguments: Any) -> Any:
                self.started.append(asked)
                return self._handle(actor(*arguments), len(self.started) <= self.room)

            return SimpleNamespace(remote=start)

        return SimpleNamespace(options=options)

    def _handle(self, actor: Any, starts: bool) -> Any:
        def call(name: str) -> Any:
            return SimpleNamespace(
                remote=lambda *given: Call(name, given, getattr(actor, name), starts)
            )

        return SimpleNamespace(prepare=call("prepare"), compute=call("compute"))

    def wait(self, calls: list[Call], num_returns: int, timeout: float) -> Any:
        self.waits.append((num_returns, timeout))
        able = [call for call in calls if call.starts]
        if self.newest:
            able = [call for call in able if call.name == "prepare"] or able[::-1]
        chosen = able[:1]
        return chosen, [call for call in calls if call not in chosen]

    def get(self, call: Call) -> Any:
        try:
            return call.work(*call.given)
        except (Lost, KaleidoError) as error:
            raise (RayError() if isinstance(error, Lost) else RayTaskError(error)) from None


class Call:
    def __init__(self, name: str, given: Any, work: Callable[..., Any], starts: bool) -> None:
        self.name, self.given, self.work, self.starts = name, given, work, starts


class Lost(Exception):
    """The process or its node is gone."""


class Squares:
    """Squares numbers; `losses` says how often a task, or the start, costs a process its life."""

    made = 0

    def __init__(self, losses: dict[Any, int]) -> None:
        self.losses, self.ready = losses, False
        Squares.made += 1

    def _survive(self, what: Any) -> None:
        if self.losses.get(what, 0) > 0:
            self.losses[what] -= 1
            raise Lost

    def prepare(self) -> None:
        self._survive("start")
        self.ready = True

    def compute(self, task: int) -> int:
        assert self.ready
        self._survive(task)
        if task < 0:
            raise KaleidoError("task", "it is negative.", code="bad-data")
        return task * task


def fleet(ray: Cluster, losses: dict[Any, int] | None = None, **options: Any) -> Fleet:
    lost = losses or {}
    return Fleet(ray, lambda: Squares(lost), **{"what": "squares", "workers": 2} | options)


def named(tasks: Iterable[int]) -> Iterator[tuple[str, int]]:
    return ((f"task {task}", task) for task in tasks)


def squares(fleet: Fleet, *tasks: int) -> dict[int, int]:
    return dict(fleet.run(named(tasks)))


def test_each_task_is_computed_once_by_no_more_processes_than_allowed() -> None:
    ray = Cluster()
    assert squares(fleet(ray, workers=3), 2, 3, 4, 5, 6) == {0: 4, 1: 9, 2: 16, 3: 25, 4: 36}
    assert ray.started == [{"num_cpus": 1, "num_gpus": 0, "max_restarts": 0}] * 3
    assert set(ray.waits) == {(1, 1.0)}


def test_no_more_processes_start_than_there_are_tasks_and_they_are_kept() -> None:
    ray = Cluster()
    ours = fleet(ray, workers=3)
    assert squares(ours) == {} and ray.started == []
    assert squares(ours, 2) == {0: 4} and len(ray.started) == 1
    assert squares(ours, 2, 3) == {0: 4, 1: 9} and len(ray.started) == 2
    assert squares(ours, 7) == {0: 49} and len(ray.started) == 2
    assert squares(ours, 1, 2, 3, 4) == {0: 1, 1: 4, 2: 9, 3: 16} and len(ray.started) == 3


def test_a_small_cluster_is_only_slower() -> None:
    assert squares(fleet(Cluster(room=1), workers=3), 2, 3, 4) == {0: 4, 1: 9, 2: 16}


def test_results_are_told_in_the_order_of_their_tasks() -> None:
    numbers = list(range(1, 8))
    ours = fleet(Cluster(newest=True), workers=7)
    assert [number for number, _ in ours.run(named(numbers))] == list(range(7))[::-1]
    again = fleet(Cluster(newest=True), workers=7)
    assert list(again.in_order(named(numbers))) == [number**2 for number in numbers]


class FirstIsSlow(Cluster):
    """Computes the task 0 when nothing else is left to be done."""

    def wait(self, calls: list[Call], num_returns: int, timeout: float) -> Any:
        return super().wait(sorted(calls, key=lambda call: call.given == (0,)), 1, timeout)


def test_a_slow_task_holds_back_few_results_of_later_ones() -> None:
    taken, given = [], []

    def asked() -> Iterator[tuple[str, int]]:
        for number in range(100):
            taken.append(number)
            yield f"task {number}", number

    for result in fleet(FirstIsSlow(), workers=3).in_order(asked()):
        given.append(result)
        assert len(taken) - len(given) < AHEAD * 3
    assert given == [number**2 for number in range(100)]


def test_tasks_may_be_results_of_the_same_fleet() -> None:
    ours = fleet(FirstIsSlow(), workers=3)
    found = ours.in_order(named(ours.in_order(named(range(30)))))
    assert list(found) == [number**4 for number in range(30)]


def test_processes_take_the_gpus_that_there_are() -> None:
    for there, asked, taken in ((0, 1, 0), (0.5, 1, 0.5), (4, 1, 1)):
        ray = Cluster(gpus=there)
        squares(fleet(ray, cpus=3, gpus=asked), 2)
        assert ray.started == [{"num_cpus": 3, "num_gpus": taken, "max_restarts": 0}]


def test_a_lost_task_is_tried_by_another_process() -> None:
    ray = Cluster()
    ours = fleet(ray, {3: ATTEMPTS - 1, 2: 1}, workers=1)
    assert list(ours.run(named((2, 3, 4)))) == [(0, 4), (1, 9), (2, 16)]
    assert len(ray.started) == 1 + (ATTEMPTS - 1) + 1


@pytest.mark.parametrize(
    ("what", "named"), [(3, "task 3 lost"), ("start", "a process that was starting lost")]
)
def test_what_always_loses_its_process_is_named(what, named) -> None:
    ray = Cluster()
    with pytest.raises(KaleidoError) as caught:
        squares(fleet(ray, {what: 99}, workers=1), 2, 3, 4)
    assert (caught.value.code, caught.value.what) == ("worker-died", "squares")
    assert caught.value.why.startswith(named)
    assert len(ray.started) == ATTEMPTS


def test_processes_that_die_while_starting_are_replaced() -> None:
    ray = Cluster()
    assert squares(fleet(ray, {"start": ATTEMPTS - 1}), 2, 3) == {0: 4, 1: 9}
    assert len(ray.started) == 2 + ATTEMPTS - 1


def test_an_error_of_a_task_is_raised_as_it_is() -> None:
    with pytest.raises(KaleidoError) as caught:
        squares(fleet(Cluster()), 2, -1)
    assert caught.value.code == "bad-data"


@pytest.fixture
def seconds(monkeypatch) -> list[float]:
    """A clock that goes a second on with every look."""
    now = [0.0]

    def look() -> float:
        now[0] += 1.0
        return now[0]

    monkeypatch.setattr(module, "monotonic", look)
    return now


@pytest.mark.parametrize(("address", "named"), [("", "Ray cluster"), ("a:1", "Ray cluster a:1")])
def test_a_cluster_without_room_is_waited_for_a_while(seconds, address, named) -> None:
    ray = Cluster(room=0)
    with pytest.raises(KaleidoError) as caught:
        squares(fleet(ray, patience=5.0, cpus=4, address=address), 2)
    assert (caught.value.code, caught.value.what) == ("cluster", named)
    assert "5 seconds" in caught.value.why and "4 free CPUs" in caught.value.hint
    assert seconds == [7.0]  # begun at 1, so 6 seconds are the first that are more than 5


class SlowCluster(Cluster):
    """Answers only every seventh look."""

    def wait(self, calls: list[Call], num_returns: int, timeout: float) -> Any:
        found = super().wait(calls, num_returns, timeout)
        return found if len(self.waits) % 7 == 0 else ([], calls)


def test_a_process_at_work_may_take_its_time(seconds) -> None:
    squares(fleet(SlowCluster(), workers=1, patience=8.0), 2, 3, 4)
    with pytest.raises(KaleidoError):  # while a start may not
        squares(fleet(SlowCluster(), workers=1, patience=5.0), 2)


class Connection:
    """Ray's connection, and what was asked of it."""

    def __init__(self, there: bool = False, error: Exception | None = None) -> None:
        self.there, self.error = there, error
        self.asked: list[Any] = []

    def is_initialized(self) -> bool:
        return self.there

    def init(self, **asked: Any) -> None:
        self.asked.append(asked)
        if self.error is not None:
            raise self.error

    def shutdown(self) -> None:
        self.asked.append("shutdown")


def test_a_connection_ends_with_its_block() -> None:
    common = {"log_to_driver": False, "logging_level": "ERROR"}
    for address, asked in (
        ("", {"address": None, "include_dashboard": False}),
        ("auto", {"address": "auto", "include_dashboard": None}),
    ):
        ray = Connection()
        with pytest.raises(ZeroDivisionError), connected(ray, address):
            assert ray.asked == [common | asked]
            raise ZeroDivisionError
        assert ray.asked[1:] == ["shutdown"]
    ray = Connection(there=True)
    with connected(ray, "auto"):
        pass
    assert ray.asked == []


def test_a_cluster_that_cannot_be_reached_is_named() -> None:
    ray = Connection(error=ConnectionError("nobody answers\nand so on"))
    with pytest.raises(KaleidoError) as caught, connected(ray, "a:1"):
        raise AssertionError("there is nothing")
    assert (caught.value.code, caught.value.what) == ("cluster", "Ray cluster a:1")
    assert "(nobody answers)" in caught.value.why
    assert ray.asked[1:] == []

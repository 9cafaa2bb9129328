"""Worker processes give in order what one process gives, and never die silently."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time

import pytest

from pipelines.core.errors import KaleidoError
from pipelines.core.processes import AHEAD, Workers, explain_death, worker_number


def _square(number: int) -> int:
    if number == 13:
        raise ValueError("unlucky")
    return number * number


def _die(code: int) -> None:
    os._exit(code)


def _interrupt() -> None:
    os.kill(os.getpid(), signal.SIGINT)


def _number() -> int:
    time.sleep(0.05)  # so that no process can take all tasks
    return worker_number()


def _wish() -> str:
    return os.environ["OMP_NUM_THREADS"]


@pytest.mark.parametrize("count", [1, 2])
def test_results_keep_the_order_of_the_tasks(count):
    with Workers(count, "squares") as pool:
        assert list(pool.in_order(_square, ((n,) for n in range(12)))) == [n * n for n in range(12)]


def test_one_worker_is_this_process():
    with Workers(1, "pid") as pool:
        assert list(pool.in_order(os.getpid, [()])) == [os.getpid()]
        assert multiprocessing.active_children() == []


def test_each_worker_has_its_own_number():
    with Workers(2, "numbers") as pool:
        assert set(pool.in_order(_number, [()] * 40)) == {0, 1}
    assert worker_number() == 0


def test_tasks_are_begun_no_further_ahead_than_promised():
    taken = []
    with Workers(2, "squares") as pool:
        found = pool.in_order(_square, ((taken.append(n) or n,) for n in range(1000)))
        assert next(found) == 0
        assert len(taken) == 2 * AHEAD


@pytest.mark.parametrize("count", [1, 2])
def test_an_error_of_a_task_reaches_the_caller(count):
    with pytest.raises(ValueError, match="unlucky"), Workers(count, "squares") as pool:
        list(pool.in_order(_square, ((n,) for n in range(10, 200))))


def test_a_process_that_dies_is_an_error_that_says_why():
    with pytest.raises(KaleidoError, match="squares: .*exit code 9"), Workers(2, "squares") as pool:
        list(pool.in_order(_die, [(9,)]))


@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
def test_ctrl_c_ends_a_process_without_a_traceback(capfd):
    with pytest.raises(KaleidoError, match="Interrupt"), Workers(2, "squares") as pool:
        list(pool.in_order(_interrupt, [()]))
    assert "Traceback" not in capfd.readouterr().err


def test_numerical_libraries_get_their_threads(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    with Workers(2, "threads", threads=3) as pool:
        assert pool.submit(_wish).result() == "3"
    assert os.environ["OMP_NUM_THREADS"] == "7"


def test_too_few_workers():
    with pytest.raises(KaleidoError) as caught:
        Workers(0, "squares")
    assert caught.value.code == "bad-option"


@pytest.mark.parametrize(
    ("codes", "words"),
    [
        ([], "was killed"),
        ([None, 0, -15], "was killed"),
        ([-15, -9], "was killed"),
        ([-15, 1], "could not start"),
        ([-11, -15], "by a signal: Segmentation fault"),
        ([3221225477], "by exit code 3221225477"),
    ],
)
def test_exit_codes_say_why_a_worker_died(codes, words):
    assert words in explain_death(codes)[0]

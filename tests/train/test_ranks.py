"""What ranks say to each other, with the sums by hand, and where each of them computes."""

from __future__ import annotations

import os

import pytest
import torch
from torch import distributed, nn

from pipelines.core.errors import KaleidoError
from pipelines.core.progress import SILENT, Progress
from pipelines.train import ranks as module
from pipelines.train.ranks import ALONE, Ranks, join_ranks, rank_device
from tests.train.forked import in_ranks


def test_a_process_alone_says_nothing() -> None:
    assert Ranks(0, 1) == ALONE and ALONE.first
    values = torch.ones(2)
    assert ALONE.sum(values) is values and values.tolist() == [1, 1]
    assert ALONE.largest((3, -1)) == [3, -1]
    ALONE.wait()
    weight = nn.Parameter(values)
    ALONE.sum_gradients([weight])
    assert weight.grad is None
    with join_ranks() as ranks:
        assert ranks is ALONE and not distributed.is_initialized()


def test_only_the_first_is_heard() -> None:
    mine = Progress()
    assert Ranks(0, 2).listener(mine) is mine
    assert Ranks(1, 2).listener(mine) is SILENT
    assert (Ranks(0, 2).first, Ranks(1, 2).first) == (True, False)


def test_sums_and_largest_are_over_all_ranks() -> None:
    def told() -> tuple[object, ...]:
        with join_ranks() as ranks:
            values = torch.tensor([1.0 + ranks.rank, 10.0])
            ranks.wait()
            with join_ranks() as again:  # a part of a run joins no second time, and does not leave
                assert again == ranks
            total = ranks.sum(values)
            assert total is values
            return ranks, ranks.largest([ranks.rank, 5 - ranks.rank, -1]), total.tolist()

    assert in_ranks(2, told) == [(Ranks(rank, 2), [1, 5, -1], [3, 20]) for rank in range(2)]


@pytest.mark.parametrize("bucket", [1, 4, 2**24])
def test_gradients_are_summed_and_what_has_none_keeps_none(monkeypatch, bucket) -> None:
    """Whatever goes into one message, and where one rank has none."""
    monkeypatch.setattr(module, "BUCKET", bucket)
    messages: list[int] = []

    def summed() -> list[object]:
        weights = [nn.Parameter(torch.zeros(shape)) for shape in ((2,), (1, 2), (2,), (3,))]
        with join_ranks() as ranks:
            weights[0].grad = torch.tensor([1.0, 2.0]) * (ranks.rank + 1)
            if ranks.rank == 1:
                weights[1].grad = torch.tensor([[5.0, 7.0]])
            weights[3].grad = torch.full((3,), -1.0)
            send = distributed.all_reduce
            monkeypatch.setattr(
                distributed, "all_reduce", lambda x, *a: (messages.append(x.numel()), send(x, *a))
            )
            ranks.sum_gradients(weights)
        return [messages, *(None if x.grad is None else x.grad.tolist() for x in weights)]

    sizes = {1: [4, 2, 2, 3], 4: [4, 4, 3], 2**24: [4, 7]}[bucket]
    expected = [sizes, [3.0, 6.0], [[5.0, 7.0]], None, [-2.0] * 3]
    assert in_ranks(2, summed) == [expected] * 2


def test_no_gradients_are_no_message() -> None:
    def summed() -> None:
        with join_ranks() as ranks:
            ranks.sum_gradients([nn.Parameter(torch.zeros(1))])

    assert in_ranks(2, summed) == [None, None]


def test_ranks_leave_together() -> None:
    def left() -> bool:
        with join_ranks():
            assert distributed.is_initialized()
        return distributed.is_initialized()

    assert in_ranks(2, left) == [False, False]


def test_processes_that_do_not_meet_are_told(monkeypatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    for variable in ("RANK", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(variable, raising=False)
    with pytest.raises(KaleidoError) as caught, join_ranks():
        raise AssertionError("nobody is there")
    assert caught.value.code == "worker-died" and "2 processes" in caught.value.why

    def refuse(backend: str, timeout: object) -> None:
        raise ValueError("no rank\nand a trace")

    monkeypatch.setattr(distributed, "init_process_group", refuse)
    with pytest.raises(KaleidoError) as caught, join_ranks():
        raise AssertionError("nobody is there")
    assert "(no rank)" in caught.value.why


def test_a_rank_that_ended_is_told_to_the_others() -> None:
    def alone() -> None:
        with join_ranks() as ranks:
            if ranks.rank == 1:
                os._exit(3)
            ranks.sum(torch.ones(1))

    error, status = in_ranks(2, alone)
    assert (error.code, error.what, status) == ("worker-died", "training", 3)


@pytest.fixture
def gpus(monkeypatch):
    """Pretend that this machine has two GPUs; return the list of those that were chosen."""
    chosen: list[int] = []
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "set_device", chosen.append)
    monkeypatch.setattr(module, "compute_device", lambda: torch.device("cuda", 0))
    monkeypatch.setattr(module, "chosen_device", lambda: "auto")
    for variable in ("WORLD_SIZE", "LOCAL_RANK"):
        monkeypatch.delenv(variable, raising=False)
    return chosen


def test_each_rank_takes_its_own_gpu(monkeypatch, gpus) -> None:
    assert rank_device() == torch.device("cuda", 0) and gpus == []
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert rank_device() == torch.device("cuda", 0)
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert rank_device() == torch.device("cuda", 1) and gpus == [0, 1]
    monkeypatch.setattr(module, "compute_device", lambda: torch.device("cuda"))
    monkeypatch.setattr(module, "chosen_device", lambda: "cuda")
    assert rank_device() == torch.device("cuda", 1)
    monkeypatch.setattr(module, "compute_device", lambda: torch.device("cpu"))
    assert rank_device() == torch.device("cpu")


@pytest.mark.parametrize(
    ("device", "asked"), [("cpu", "gloo"), ("cuda", "cpu:gloo,cuda:nccl"), ("mps", "gloo")]
)
def test_tensors_of_gpus_are_summed_by_nccl(monkeypatch, device, asked) -> None:
    backends: list[str] = []
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setattr(module, "rank_device", lambda: torch.device(device))
    monkeypatch.setattr(
        distributed, "init_process_group", lambda backend, timeout: backends.append(backend)
    )
    monkeypatch.setattr(distributed, "destroy_process_group", lambda: backends.append("left"))
    monkeypatch.setattr(distributed, "get_rank", lambda: 1)
    with join_ranks() as ranks:
        assert (ranks, backends) == (Ranks(1, 2), [asked])
    assert backends == [asked, "left"]


def test_a_rank_without_a_gpu_of_its_own_is_refused(monkeypatch, gpus) -> None:
    monkeypatch.setattr(module, "chosen_device", lambda: "cuda:0")
    assert rank_device() == torch.device("cuda", 0)  # for one process it is no harm
    monkeypatch.setenv("WORLD_SIZE", "3")
    with pytest.raises(KaleidoError) as caught:
        rank_device()
    assert (caught.value.code, caught.value.what) == ("bad-setting", "compute.device = 'cuda:0'")
    monkeypatch.setattr(module, "chosen_device", lambda: "auto")
    for number in ("2", "3"):
        monkeypatch.setenv("LOCAL_RANK", number)
        with pytest.raises(KaleidoError) as caught:
            rank_device()
        assert (caught.value.code, caught.value.what) == ("bad-option", f"process {number}")
    assert gpus == []


def test_parts_of_several_processes_are_joined_in_order() -> None:
    owners = [(0, 1), (1, 2), (0, 2)]
    whole = torch.arange(10.0).reshape(5, 2)

    def run() -> torch.Tensor:
        with join_ranks() as ranks:
            own = whole[[0, 3, 4]] if ranks.rank == 0 else whole[[1, 2]]
            return ranks.gather(own, owners).tolist()

    assert in_ranks(2, run) == [whole.tolist()] * 2
    assert Ranks().gather(whole, [(0, 5)]) is whole

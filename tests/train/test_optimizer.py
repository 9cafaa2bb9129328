"""The optimizer that options name, and its state as tensors."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from pipelines.train.optimizer import build_optimizer, optimizer_tensors, restore_optimizer
from tests.train.test_loop import OPTIONS


@pytest.mark.parametrize(("device", "fused"), [("cpu", False), ("mps", False), ("cuda", True)])
def test_adamw_is_that_of_the_paper_and_fused_on_gpus_of_cuda(device, fused) -> None:
    options = replace(OPTIONS, learning_rate=0.25, weight_decay=0.125)
    optimizer = build_optimizer([nn.Parameter(torch.ones(2))], options, torch.device("cpu"))
    assert type(optimizer) is torch.optim.AdamW
    (group,) = optimizer.param_groups
    assert (group["lr"], group["weight_decay"], group["betas"]) == (0.25, 0.125, (0.9, 0.99))
    made: list[bool] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.optim, "AdamW", lambda *a, fused, **k: made.append(fused))
        build_optimizer([], options, torch.device(device))
    assert made == [fused]


def test_moments_in_eight_bits_are_those_of_bitsandbytes(monkeypatch) -> None:
    made: list[object] = []
    eight = SimpleNamespace(optim=SimpleNamespace(AdamW8bit=lambda *a, **k: made.append((a, k))))
    monkeypatch.setattr("pipelines.train.optimizer.import_extra", lambda *names: eight)
    options = replace(OPTIONS, optimizer="adamw8bit", learning_rate=0.25, weight_decay=0.125)
    build_optimizer([], options, torch.device("cuda"))
    assert made == [(([], 0.25), {"betas": (0.9, 0.99), "weight_decay": 0.125})]


class Moments(torch.optim.Optimizer):
    """An optimizer that keeps its state as bitsandbytes does: a number of steps, and tensors."""

    def __init__(self, parameters: list[nn.Parameter]) -> None:
        super().__init__(parameters, {})


def test_state_of_another_optimizer_is_restored_as_it_was() -> None:
    first, second, third = (nn.Parameter(torch.ones(2)) for _ in range(3))
    before = Moments([{"params": [first, second]}, {"params": [third]}])
    before.state[third] = {"step": 4, "state1": torch.tensor([1.0, 2.0])}
    before.state[first] = {"step": 3, "absmax.state": torch.tensor([7.0])}
    tensors = optimizer_tensors(before)
    assert set(tensors) == {"0.step", "0.absmax.state", "2.step", "2.state1"}
    after = Moments([{"params": [first, second]}, {"params": [third]}])
    restore_optimizer(after, tensors)
    assert set(after.state) == {first, third}
    assert after.state[third]["step"] == 4 and type(after.state[third]["step"]) is int
    assert after.state[first]["step"] == 3
    assert after.state[third]["state1"].tolist() == [1.0, 2.0]
    assert after.state[first]["absmax.state"].tolist() == [7.0]


def test_state_of_adamw_is_restored_and_its_settings_are_not() -> None:
    def trained(rate: float, steps: int) -> tuple[nn.Parameter, torch.optim.Optimizer]:
        weight = nn.Parameter(torch.tensor([1.0, 2.0]))
        options = replace(OPTIONS, learning_rate=rate)
        optimizer = build_optimizer([weight], options, torch.device("cpu"))
        for step in range(steps):
            weight.grad = torch.tensor([1.0, -3.0]) * (step + 1)
            optimizer.step()
        return weight, optimizer

    before, after = trained(0.1, 2)[1], trained(0.5, 0)[1]
    restore_optimizer(after, optimizer_tensors(before))
    found, expected = optimizer_tensors(after), optimizer_tensors(before)
    assert set(found) == {"0.step", "0.exp_avg", "0.exp_avg_sq"}
    assert all(torch.equal(found[name], value) for name, value in expected.items())
    assert after.param_groups[0]["lr"] == 0.5

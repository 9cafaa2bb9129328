"""bf16 is used where it was asked for, or where the hardware has it."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from pipelines.core.errors import KaleidoError
from pipelines.train.precision import mixed_precision, resolve_precision

CPU = torch.device("cpu")


def test_what_is_asked_for_is_used() -> None:
    assert resolve_precision("fp32", CPU) == "fp32"
    assert resolve_precision("bf16", CPU) == "bf16"


def test_an_unknown_precision_is_refused() -> None:
    with pytest.raises(KaleidoError) as caught:
        resolve_precision("fp16", CPU)
    assert "'bf16'" in caught.value.hint


@pytest.mark.parametrize(("units", "expected"), [(True, "bf16"), (False, "fp32")])
def test_auto_asks_the_hardware(monkeypatch, units: bool, expected: str) -> None:
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: units)
    assert resolve_precision("auto", CPU) == expected


def test_bf16_is_of_the_forward_pass_alone() -> None:
    torch.manual_seed(0)
    model = nn.TransformerEncoderLayer(16, 2, 32, dropout=0.0, batch_first=True)
    x = torch.randn(3, 5, 16)
    exact = model(x)
    with mixed_precision("bf16", CPU):
        rounded = model(x)
        assert nn.functional.linear(x, torch.ones(2, 16)).dtype == torch.bfloat16
    rounded.float().square().mean().backward()
    assert not torch.equal(exact, rounded.float())
    torch.testing.assert_close(exact, rounded.float(), atol=0.05, rtol=0.05)
    assert all(p.grad is not None and p.grad.dtype == torch.float32 for p in model.parameters())
    assert not torch.is_autocast_enabled("cpu")


def test_fp32_changes_nothing() -> None:
    with mixed_precision("fp32", CPU):
        assert nn.functional.linear(torch.ones(1, 2), torch.ones(3, 2)).dtype == torch.float32

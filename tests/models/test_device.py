"""Where networks compute, and that they do so in fp32."""

from __future__ import annotations

import pytest
import torch

from pipelines.models.device import compute_device, in_fp32


def convolutions() -> str:
    return torch.backends.cudnn.conv.fp32_precision


@pytest.mark.parametrize(("there", "expected"), [(True, "cuda"), (False, "cpu")])
def test_the_gpu_computes_where_there_is_one(monkeypatch, there: bool, expected: str) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: there)
    assert compute_device() == torch.device(expected)


def test_the_users_precision_comes_back() -> None:
    before = convolutions()
    with pytest.raises(ValueError, match="stop"), in_fp32():
        assert convolutions() == "ieee"
        raise ValueError("stop")
    assert convolutions() == before


@pytest.mark.gpu
def test_convolutions_on_a_gpu_are_as_exact_as_on_a_cpu() -> None:
    rng = torch.Generator().manual_seed(0)
    layer = torch.nn.Conv2d(64, 64, 3, padding=1)
    x = torch.randn(4, 64, 32, 32, generator=rng)
    with torch.inference_mode(), in_fp32():
        expected = layer(x)
        found = layer.cuda()(x.cuda()).cpu()
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)

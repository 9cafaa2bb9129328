"""Where networks compute, and that they do so in fp32."""

from __future__ import annotations

import pytest
import torch

from pipelines.core.errors import KaleidoError
from pipelines.models.device import compute_device, in_fp32


def convolutions() -> str:
    return torch.backends.cudnn.conv.fp32_precision


@pytest.mark.parametrize(
    ("gpus", "worker", "expected"),
    [(0, 0, "cpu"), (0, 3, "cpu"), (1, 0, "cuda:0"), (1, 3, "cuda:0"), (2, 3, "cuda:1")],
)
def test_workers_share_the_gpus_evenly(monkeypatch, gpus, worker, expected) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpus > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    monkeypatch.setattr("pipelines.models.device.worker_number", lambda: worker)
    assert compute_device() == torch.device(expected)


def test_a_chosen_device_is_taken(monkeypatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setenv("KALEIDO_DEVICE", "cpu")
    assert compute_device() == torch.device("cpu")


@pytest.mark.parametrize("name", ["quantum", "cuda:99", "mps:7"])
def test_a_device_that_does_not_exist_is_named(monkeypatch, name) -> None:
    monkeypatch.setenv("KALEIDO_DEVICE", name)
    with pytest.raises(KaleidoError) as caught:
        compute_device()
    assert caught.value.code == "bad-setting"
    assert name in caught.value.what


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

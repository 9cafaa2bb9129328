"""The environment that is prepared before torch is imported."""

from __future__ import annotations

import os

import pytest

from pipelines.core import compute

NAMES = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME", "OMP_NUM_THREADS")


@pytest.fixture
def environment(monkeypatch) -> dict[str, str]:
    """A copy of the environment without its thread settings."""
    copy = {name: value for name, value in os.environ.items() if name not in NAMES}
    monkeypatch.setattr(compute.os, "environ", copy)
    monkeypatch.setattr(compute.os, "cpu_count", lambda: 64)
    return copy


@pytest.mark.parametrize(
    ("content", "threads"),
    [("150000 100000", "2"), ("50000 100000", "1"), ("max 100000", None), ("9900000 100000", None)],
)
def test_threads_follow_the_quota_of_a_container(environment, tmp_path, content, threads):
    (tmp_path / "cpu.max").write_text(content)
    compute.prepare_threads(tmp_path / "cpu.max")
    assert environment.get("OMP_NUM_THREADS") == threads
    assert environment["OMP_WAIT_POLICY"] == "PASSIVE"


def test_the_users_settings_win(environment, tmp_path):
    (tmp_path / "cpu.max").write_text("100000 100000")
    environment.update({"OMP_NUM_THREADS": "7", "OMP_WAIT_POLICY": "ACTIVE"})
    compute.prepare_threads(tmp_path / "cpu.max")
    assert (environment["OMP_NUM_THREADS"], environment["OMP_WAIT_POLICY"]) == ("7", "ACTIVE")


def test_without_a_quota_threads_are_left_to_the_libraries(environment, tmp_path):
    compute.prepare_threads(tmp_path / "none")
    assert "OMP_NUM_THREADS" not in environment


def test_the_device_is_told_to_accelerate(environment):
    assert compute.chosen_device() == "auto"
    compute.choose_device("auto")
    assert compute.DEVICE not in environment
    compute.choose_device("cpu")
    assert (compute.chosen_device(), environment["ACCELERATE_TORCH_DEVICE"]) == ("cpu", "cpu")

"""Drawing on a cluster: what a process does, and, marked slow, two nodes of which one dies."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from pipelines.core.errors import KaleidoError
from pipelines.sample.bundle import bundle_hash, load_bundle
from pipelines.sample.control import UNCONTROLLED
from pipelines.sample.draw import draw_each
from pipelines.sample.engine import DrawProcess, _Model, _Order, _Task, drawing
from pipelines.workspace.settings import SampleSettings, Settings
from pipelines.workspace.workspace import Workspace
from tests.engines.namespaces import RAY, has_namespaces

ROOT = Path(__file__).parents[2]
NODES = Path(__file__).with_name("draw_nodes.py")
QUICK = SampleSettings(n=2, steps=1)


@pytest.fixture(scope="module")
def bundle():
    return load_bundle(None).drawing(["palette"])


@pytest.fixture
def place(tmp_path) -> Workspace:
    return Workspace(tmp_path, Settings())


def order(place: Workspace, **changes) -> _Order:
    models = {"kaleido": _Model("embedded", ("palette",), **changes)}
    return _Order(place, models, torch.get_num_threads())


def test_a_process_draws_what_the_driver_would(bundle, place) -> None:
    process = DrawProcess(order(place, hash=bundle_hash(bundle)))
    process.prepare()
    captions = ("a red star", "two blue squares")
    found = process.compute(_Task("kaleido", captions, QUICK, UNCONTROLLED))
    expected = [list(samples) for samples in draw_each(bundle, captions, QUICK)]
    assert [[s.z for s in group] for group in found] == [[s.z for s in g] for g in expected]
    for group, others in zip(found, expected, strict=True):
        for sample, other in zip(group, others, strict=True):
            assert np.array_equal(sample.pixels, other.pixels)


def test_a_node_with_other_models_is_refused(bundle, place) -> None:
    other = replace(bundle, chosen_kinds=("boxes",))
    with pytest.raises(KaleidoError) as caught:
        DrawProcess(order(place, hash=bundle_hash(other))).prepare()
    assert caught.value.code == "model-mismatch"


def test_without_a_cluster_this_process_draws(bundle, place) -> None:
    with drawing(place, [bundle]) as draw:
        assert draw is draw_each


def test_what_is_drawn_here_refuses_a_cluster(invoke, tmp_path) -> None:
    said = invoke("sample", "a star", "--engine", "ray", "--diverse", "2", code=1)
    assert "--diverse are drawn on this machine" in said.err


@pytest.mark.slow
@pytest.mark.skipif(
    not has_namespaces(), reason="needs network namespaces, which root has on Linux"
)
def test_two_nodes_draw_the_bytes_of_one_process_though_one_dies(tmp_path, monkeypatch) -> None:
    pytest.importorskip("ray")
    from tests.sample.draw_nodes import draw

    there = tmp_path / "there"
    there.mkdir()
    done = subprocess.run(
        ["unshare", "-n", sys.executable, NODES, there],
        env=os.environ | {"PYTHONPATH": str(ROOT), **RAY, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert done.returncode == 0, done.stderr
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        draw(tmp_path / "here")
    finally:
        torch.set_num_threads(threads)
    files = {path.name: path.read_bytes() for path in (tmp_path / "here").rglob("*.*")}
    assert len([name for name in files if name.startswith("000")]) == 80
    assert {path.name: path.read_bytes() for path in there.rglob("*.*")} == files

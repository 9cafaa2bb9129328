"""Drawing on a cluster: what a process does, and, marked slow, two nodes of which one dies."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from pipelines.core.errors import KaleidoError
from pipelines.sample import engine
from pipelines.sample.bundle import bundle_hash, load_bundle
from pipelines.sample.draw import draw_each
from pipelines.sample.engine import JobProcess, SameBundle, _Order, bundles_of, running
from pipelines.sample.jobs import DrawAgain, DrawCaptions, DrawGiven, jobs_of
from pipelines.workspace.config import override
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


def order(place: Workspace, wanted: str) -> _Order:
    tools = {"kaleido": SameBundle("kaleido", "embedded", ("palette",), wanted)}
    return _Order(place, tools, torch.get_num_threads())


def test_a_process_draws_what_the_driver_would(bundle, place) -> None:
    process = JobProcess(pickle.loads(pickle.dumps(order(place, bundle_hash(bundle)))))
    process.prepare()
    captions = ("a red star", "two blue squares")
    found = process.compute(DrawCaptions("kaleido", captions, QUICK))
    expected = [each for samples in draw_each(bundle, captions, QUICK) for each in samples]
    assert [each.z for each in found] == [each.z for each in expected]
    for sample, other in zip(found, expected, strict=True):
        assert np.array_equal(sample.pixels, other.pixels)
    z = found[1].z
    (given,) = process.compute(DrawGiven("kaleido", captions[0], (z,), QUICK, (1,)))
    assert np.array_equal(given.pixels, found[1].pixels)
    (again,) = process.compute(DrawAgain("kaleido", captions[0], (z,), QUICK))
    assert again.shape == given.pixels.shape


def test_a_node_with_other_models_is_refused(bundle, place) -> None:
    other = replace(bundle, chosen_kinds=("boxes",))
    with pytest.raises(KaleidoError) as caught:
        JobProcess(order(place, bundle_hash(other))).prepare()
    assert caught.value.code == "model-mismatch"


def test_without_a_cluster_this_process_draws_when_it_is_asked(bundle, place) -> None:
    asked = []

    def captions():
        for job in jobs_of("kaleido", ["a star", "a heart"], replace(QUICK, n=16)):
            asked.append(job.captions)
            yield job

    with running(place, *bundles_of([bundle])) as run:
        assert next(run(captions())).caption == "a star"
    assert asked == [("a star",)]


@pytest.mark.parametrize("gpus", [0.0, 2.0])
def test_a_process_takes_a_gpu_or_as_many_cpus_as_threads(place, monkeypatch, gpus) -> None:
    made, resources = [], {"CPU": 8.0} | ({"GPU": gpus} if gpus else {})
    ray = SimpleNamespace(cluster_resources=lambda: resources)
    monkeypatch.setattr(engine, "import_extra", lambda *_: ray)
    monkeypatch.setattr(engine, "connected", lambda given, address: nullcontext())
    monkeypatch.setattr(engine, "Fleet", lambda *given: made.append(given))
    changes = {"drawing.engine": "ray", "drawing.workers": 3, "drawing.address": "a:1"}
    cluster = replace(place, settings=override(place.settings, changes))
    before = torch.get_num_threads()
    torch.set_num_threads(5)
    try:
        with running(cluster, {}, {}):
            pass
    finally:
        torch.set_num_threads(before)
    ((_, process, what, *rest),) = made
    assert (what, rest) == ("drawing", [3, 1 if gpus else 5, 1, "a:1"])
    assert process()._order.threads == 5


def test_a_base_refuses_a_cluster(invoke) -> None:
    said = invoke("sample", "a star", "--engine", "ray", "--base", "somewhere", code=1)
    assert "--base are drawn on this machine" in said.err


@pytest.mark.slow
@pytest.mark.skipif(
    not has_namespaces(), reason="needs network namespaces, which root has on Linux"
)
def test_two_nodes_draw_and_measure_what_one_process_does_though_one_dies(tmp_path) -> None:
    pytest.importorskip("ray")
    from tests.sample.draw_nodes import draw, measure, place

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
        draw(place(tmp_path / "here"))
        measure(place(tmp_path / "here"))
    finally:
        torch.set_num_threads(threads)
    files = written(tmp_path / "here")
    assert written(there) == files
    assert len([name for name in files if name.startswith("samples/plain/000")]) == 80
    assert len([name for name in files if name.endswith(".npz")]) == 7
    assert files["reports/evaluation/report.json"]


def written(root: Path) -> dict[str, bytes]:
    """Return the files of a workspace by their paths in it."""
    return {
        str(path.relative_to(root)): path.read_bytes()
        for path in root.rglob("*")
        if path.is_file() and not path.relative_to(root).parts[0].startswith(".")
    }

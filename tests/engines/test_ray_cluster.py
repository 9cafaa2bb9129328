from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from colour_stage import MeanColour, run_stage
from namespaces import RAY, has_namespaces

from pipelines.core.errors import KaleidoError
from pipelines.core.stage import StageSpec
from pipelines.engines.ray_cluster import RayEngine, ShardProcess, _Order, _probe, _require_equal
from pipelines.engines.tasks import specs_of
from pipelines.workspace.workspace import LOCKS, SETTINGS_FILE, Workspace

NODES = Path(__file__).with_name("ray_nodes.py")
ROOT = Path(__file__).parents[2]
RUNS = ("whole", "killed", "other", "dying")  # as `ray_nodes.main` takes them


def files(root: Path) -> dict[str, bytes]:
    folder = root / "latents" / "palette"
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name[0] != "."}


def test_a_count_below_one_is_refused():
    with pytest.raises(KaleidoError) as error:
        RayEngine(lambda workspace, kinds: [], workers=0)
    assert error.value.code == "bad-option"


def test_a_node_must_see_the_workspace_of_the_driver(workspace):
    """Its settings, and the file that the driver has just written."""
    stages = [MeanColour()]
    order = _Order(workspace, lambda workspace, kinds: stages, specs_of(stages), "cluster-0")

    def refused(order: _Order) -> bool:
        try:
            ShardProcess(order).prepare()
        except KaleidoError as error:
            assert (error.code, error.what) == ("cluster", str(workspace.root))
            return True
        return False

    (workspace.root / LOCKS).mkdir()
    assert refused(order)
    with _probe(workspace) as probe:
        assert not refused(replace(order, probe=probe))
        (workspace.root / SETTINGS_FILE).rename(workspace.root / "other")
        assert refused(replace(order, probe=probe))
        (workspace.root / "other").rename(workspace.root / SETTINGS_FILE)
        (workspace.root / LOCKS / probe).unlink()  # by someone who cleans up: it is no error
    with pytest.raises(ZeroDivisionError), _probe(workspace) as probe:
        raise ZeroDivisionError
    assert not list((workspace.root / LOCKS).glob("cluster-*"))


def test_a_node_must_have_the_stages_of_the_driver(workspace):
    spec = StageSpec("mean-colour", 1, "palette", options={"a": 1, "b": 2, "c": 3})
    _require_equal(spec, replace(spec))
    for changes, named in (
        ({"options": {"a": 0, "b": 2, "c": 4, "d": 5}}, "another a, c, d."),
        ({"version": 0}, "another version of Kaleido."),
        ({"version": 2}, "another version of Kaleido."),
    ):
        with pytest.raises(KaleidoError) as caught:
            _require_equal(replace(spec, **changes), spec)
        assert (caught.value.code, caught.value.what) == ("model-mismatch", "extract palette")
        assert caught.value.why.endswith(named)
    stages = [MeanColour(version=2)]
    (workspace.root / LOCKS).mkdir()
    with _probe(workspace) as probe:
        order = _Order(workspace, lambda *_: stages, specs_of([MeanColour()]), probe)
        with pytest.raises(KaleidoError) as caught:
            ShardProcess(order).prepare()
    assert caught.value.code == "model-mismatch"


@pytest.mark.skipif(
    not has_namespaces(), reason="needs network namespaces, which root has on Linux"
)
def test_a_cluster_writes_the_bytes_of_one_machine(tmp_path, workspace, write_data, records):
    pytest.importorskip("ray")
    captions = ["die" if number == 9 else "plain" for number in range(10)]
    write_data([replace(r, caption=c) for r, c in zip(records, captions, strict=True)], 1)
    dying = shutil.copytree(workspace.root, tmp_path / "dying")
    write_data(records, 1)
    roots = {"dying": dying}
    for name in ("whole", "killed", "other"):
        roots[name] = shutil.copytree(workspace.root, tmp_path / name)
    run_stage(workspace, MeanColour())

    done = subprocess.run(
        ["unshare", "-n", sys.executable, NODES, *(roots[name] for name in RUNS)],
        env=os.environ | {"PYTHONPATH": f"{ROOT}:{NODES.parent}", **RAY},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])

    complete = {"ok": 10, "failed": 0, "shards": 10}
    assert found["whole"] == complete
    assert found["killed"] == complete  # the shards of the killed node went to the other one
    for name in ("whole", "killed"):
        assert files(roots[name]) == files(workspace.root)
        assert not list((roots[name] / ".locks").glob("cluster-*"))
    assert found["other"]["code"] == "model-mismatch"
    assert not list((roots["other"] / "latents").rglob("*.tar"))
    assert found["dying"]["code"] == "worker-died"
    assert found["dying"]["what"] == "extract palette"
    kept = [name for name in files(roots["dying"]) if name.endswith(".json")]
    assert sorted(kept) == [f"{number:06d}.json" for number in range(9)]
    run_stage(Workspace.find(explicit=roots["killed"]), MeanColour())
    assert not [path for path in (roots["killed"] / "latents").rglob(".*")]  # leftovers are removed

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
from pipelines.engines.ray_cluster import RayEngine
from pipelines.workspace.workspace import Workspace

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

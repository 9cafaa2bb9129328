"""Two Ray nodes in a network namespace that has a loopback interface alone, and runs on them.

`test_ray_cluster` starts this program inside such a namespace: elsewhere Ray would bind to another
interface of the machine. It prints what happened as JSON.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from threading import Thread
from typing import Any

from colour_stage import MeanColour
from namespaces import bring_loopback_up
from ray.cluster_utils import Cluster

from pipelines.core.errors import KaleidoError
from pipelines.core.stage import StageGroup
from pipelines.engines.ray_cluster import RayEngine
from pipelines.engines.run import run_stages
from pipelines.workspace.workspace import Workspace


def build(delay: float, version: int, workspace: Workspace, kinds: Sequence[str]) -> Any:
    """Build the stage on a node; a `version` other than 1 is that of another installation."""
    return [MeanColour(version, delay)]


def run(root: str, address: str, delay: float = 0.0, version: int = 1) -> dict[str, Any]:
    """Extract, and return the counts or the code of the error."""
    stages: list[StageGroup] = [MeanColour()]
    engine = RayEngine(partial(build, delay, version), workers=2, address=address)
    try:
        (found,) = run_stages(Workspace.find(explicit=Path(root)), stages, engine)
    except KaleidoError as error:
        return {"code": error.code, "what": error.what}
    return {"ok": found.ok, "failed": found.failed, "shards": found.shards}


def kill_when_begun(cluster: Cluster, node: Any, root: str) -> None:
    """Kill a node when two shards are done."""
    while len(list(Path(root, "latents", "palette").glob("*.json"))) < 2:
        time.sleep(0.02)
    cluster.remove_node(node, allow_graceful=False)


def main(whole: str, killed: str, other: str, dying: str) -> None:
    """Run on two nodes: undisturbed, with another version there, with a death, and with a kill."""
    bring_loopback_up()
    head = {"num_cpus": 1, "include_dashboard": False}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    node = cluster.add_node(num_cpus=1)
    found = {
        "whole": run(whole, cluster.address),
        "other": run(other, cluster.address, version=2),
        "dying": run(dying, cluster.address),
    }
    Thread(target=kill_when_begun, args=(cluster, node, killed), daemon=True).start()
    found["killed"] = run(killed, cluster.address, delay=0.2)
    print(json.dumps(found), flush=True)
    cluster.shutdown()
    os._exit(0)  # Ray's threads may outlive the cluster


if __name__ == "__main__":
    main(*sys.argv[1:])

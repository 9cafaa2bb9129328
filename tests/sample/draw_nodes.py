"""Two Ray nodes in a network namespace that has a loopback interface alone, which draw pictures.

`test_engine` starts this program inside such a namespace, see `tests.engines.namespaces`.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from threading import Thread
from typing import Any

from pipelines.workspace.config import override
from pipelines.workspace.settings import Settings
from pipelines.workspace.workspace import Workspace
from tests.engines.namespaces import bring_loopback_up

CAPTIONS = [f"a {colour} star" for colour in ("red", "blue", "green", "grey", "black")]
SETTINGS = {
    "sample.n": 16,
    "sample.steps": 1,
    "evaluate.captions": 6,
    "evaluate.n": 4,
    "evaluate.cfg": (1.0,),
    "evaluate.seeds": (0,),
    "evaluate.steps": 1,
    "evaluate.training": 64,
    "drawing.workers": 2,
}


def place(folder: Path, **changes: Any) -> Workspace:
    """Return a workspace without models of its own."""
    return Workspace(folder, override(Settings(), SETTINGS | changes))


def draw(workspace: Workspace) -> None:
    """Draw the captions, a choice of z of two of them, verified pictures, and those of given z."""
    from pipelines.plan.pictures import sample_diverse
    from pipelines.plan.verified import sample_verified
    from pipelines.sample.control import Control
    from pipelines.sample.requirements import read_requirements
    from pipelines.sample.run import sample, sample_from_z

    drawn = sample(workspace, CAPTIONS, name="plain", z_kinds=("palette",))
    few = Workspace(workspace.root, override(workspace.settings, {"sample.n": 4}))
    sample_diverse(few, CAPTIONS[:2], 8, "diverse", ("boxes", "palette"))
    star = Control(read_requirements(["star@left"], []))
    sample_verified(few, CAPTIONS[:2], star, 1, "verified", ("boxes",))
    lines = (drawn.folder / "samples.jsonl").read_bytes()
    sample_from_z(few, lines, "samples.jsonl", few.settings.sample, name="given")


def measure(workspace: Workspace) -> None:
    """Evaluate the embedded models."""
    from pipelines.evaluate.run import evaluate
    from pipelines.scenes.protocol import Scenes

    evaluate(workspace, Scenes(embedded=True), embedded=True, z_kinds=("boxes", "tokens"))


def main(folder: str) -> None:
    """Draw and measure, with a node that is killed once some pictures are there."""
    from ray.cluster_utils import Cluster

    bring_loopback_up()
    cluster = Cluster(
        initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False}
    )
    there = place(Path(folder), **{"drawing.engine": "ray", "drawing.address": cluster.address})

    def kill_when(node: Any, pattern: str) -> None:
        while not list(there.root.glob(pattern)):
            time.sleep(0.02)
        cluster.remove_node(node, allow_graceful=False)

    for run, begun in ((draw, "samples/*/*.png"), (measure, "logs/evaluate/*/*.npz")):
        node = cluster.add_node(num_cpus=1)
        Thread(target=kill_when, args=(node, begun), daemon=True).start()
        run(there)
    print("done", flush=True)
    cluster.shutdown()
    os._exit(0)  # Ray's threads may outlive the cluster


if __name__ == "__main__":
    main(*sys.argv[1:])

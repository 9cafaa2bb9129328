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

import numpy as np
from ray.cluster_utils import Cluster

from pipelines.workspace.config import override
from pipelines.workspace.settings import SampleSettings, Settings
from pipelines.workspace.workspace import Workspace
from tests.engines.namespaces import bring_loopback_up

CAPTIONS = [f"a {colour} star" for colour in ("red", "blue", "green", "grey", "black")]
SETTINGS = {"sample.n": 16, "sample.steps": 1, "drawing.workers": 2}


def draw(folder: Path, **changes: Any) -> None:
    """Draw the captions into a folder with the embedded models."""
    from pipelines.sample.run import sample

    named = {name.replace("_", ".", 1): value for name, value in changes.items()}
    workspace = Workspace(folder, override(Settings(), SETTINGS | named))
    sample(workspace, CAPTIONS, name=folder / "pictures", z_kinds=("palette",))


def is_alike(folder: Path, address: str) -> bool:
    """Draw what an evaluation asks for, of two models under two seeds, there and here."""
    from pipelines.evaluate.observe import samples_of
    from pipelines.sample.bundle import load_bundle
    from pipelines.sample.draw import draw_each
    from pipelines.sample.engine import drawing

    changes = {"drawing.engine": "ray", "drawing.address": address, "drawing.workers": 2}
    workspace = Workspace(folder, override(Settings(), changes))
    options = SampleSettings(8, steps=1)
    bundles = [load_bundle(None).drawing(["palette"]), load_bundle(None, baseline=True)]
    with drawing(workspace, bundles) as draw:
        for bundle in bundles:
            there, here = (samples_of(bundle, options, CAPTIONS[:3], d) for d in (draw, draw_each))
            for caption, seed in ((caption, seed) for seed in (0, 1) for caption in CAPTIONS[:3]):
                (z, pictures), (same, others) = there(caption, seed), here(caption, seed)
                if z != same or not np.array_equal(pictures, others):
                    return False
    return True


def main(folder: str) -> None:
    """Draw for an evaluation, and with a node that is killed once the first picture is there."""
    bring_loopback_up()
    cluster = Cluster(
        initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False}
    )
    node = cluster.add_node(num_cpus=1)

    def kill() -> None:
        while not list(Path(folder).rglob("*.png")):
            time.sleep(0.02)
        cluster.remove_node(node, allow_graceful=False)

    assert is_alike(Path(folder), cluster.address)
    Thread(target=kill, daemon=True).start()
    draw(Path(folder), drawing_engine="ray", drawing_address=cluster.address)
    print("done", flush=True)
    cluster.shutdown()
    os._exit(0)  # Ray's threads may outlive the cluster


if __name__ == "__main__":
    main(*sys.argv[1:])

"""Measure the overhead of extraction: memory over many images, and a run with nothing to do.

The aims: the peak of memory with 50,000 images within a tenth of that with 2,000; finished work
looked through in less than a second for 1,000 shards.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

from pipelines.scenes.generate import write_scenes
from pipelines.workspace.workspace import Workspace

FEW, MANY, SHARDS, SIDE = 2_000, 50_000, 1_000, 16
CHILD = """
import json, resource, sys, time
from pathlib import Path
from pipelines.workspace.workspace import Workspace
from pipelines.extract.run import extract

start = time.perf_counter()
extract(Workspace.find(explicit=Path(sys.argv[1])), ["palette"])
seconds = time.perf_counter() - start
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
print(json.dumps({"seconds": seconds, "bytes": peak}))
"""


def main() -> None:
    """Print both figures."""
    with tempfile.TemporaryDirectory() as name:
        peaks = {}
        for count in (FEW, MANY):
            workspace = Workspace.init(Path(name) / str(count))
            write_scenes(workspace, count, seed=1, size=SIDE)
            peaks[count] = palettes(workspace)["bytes"] / 1e6
        for count, peak in peaks.items():
            print(f"peak memory with {count:,}: {peak:.0f} MB, {peak / peaks[FEW]:.2f} x")
        workspace = Workspace.init(Path(name) / "shards")
        write_scenes(workspace, 2 * SHARDS, seed=1, size=SIDE, shard_size=2)
        palettes(workspace)
        again = palettes(workspace)["seconds"]
        print(f"{SHARDS:,} finished shards: {again:.2f} s")


def palettes(workspace: Workspace) -> dict[str, float]:
    """Extract palettes in a process of its own; return seconds and peak memory in bytes."""
    command = [sys.executable, "-c", CHILD, str(workspace.root)]
    return json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


if __name__ == "__main__":
    main()

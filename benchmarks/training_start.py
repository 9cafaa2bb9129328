"""Measure how training starts on a million records: CPU seconds and memory of whole processes.

The aims: `train prior --steps 2` in less than 30 CPU seconds and 1.2 GB; the same command again,
which is finished already, in less than 10 CPU seconds.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from pipelines.extract.run import extract
from pipelines.scenes.generate import write_scenes
from pipelines.workspace.workspace import Workspace

SHARDS, RECORDS, SIDE = 1_000, 1_000, 16
COMMAND = ["train", "prior", "--z", "palette", "--steps", "2"]
CHILD = """
import json, resource, sys
from kaleido_cli.app import app

try:
    app(sys.argv[1:], standalone_mode=False)
finally:
    used = resource.getrusage(resource.RUSAGE_SELF)
    cpu = used.ru_utime + used.ru_stime
    print(json.dumps({"cpu": cpu, "bytes": used.ru_maxrss * 1024}))
"""


def main() -> None:
    """Print both figures."""
    with tempfile.TemporaryDirectory() as name:
        workspace = Workspace.init(Path(name) / "many")
        fill(workspace)
        for what in ("--steps 2", "finished already"):
            used = run(workspace, *COMMAND)
            print(f"{what}: {used['cpu']:.1f} CPU s, {used['bytes'] / 1e6:,.0f} MB", flush=True)


def fill(workspace: Workspace) -> None:
    """Make one shard of scenes with palettes, and link it to all others.

    Keys are then the same in all shards. Training reads each shard by itself, so it does the same
    work as with others.
    """
    write_scenes(workspace, RECORDS, seed=1, size=SIDE, shard_size=RECORDS)
    extract(workspace, ["palette"])
    for folder in (workspace.data, workspace.latents("palette")):
        files = [path for path in folder.iterdir() if path.name.startswith("000000.")]
        for number in range(1, SHARDS):
            for path in files:
                os.link(path, folder / f"{number:06d}{path.suffix}")


def run(workspace: Workspace, *arguments: str) -> dict[str, float]:
    """Run `kaleido` in a process of its own; return CPU seconds and peak memory in bytes."""
    command = [sys.executable, "-c", CHILD, *arguments, "-w", str(workspace.root)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


if __name__ == "__main__":
    main()

"""Measure commands on a million records in 1,000 shards: seconds, CPU seconds and memory.

The aims: `status` in 2 s, planning an extraction in 10 s, `train prior` to its second step in 30 s
beyond its imports, each with at most 500 MB beyond them; a training that is finished already is
told in 10 CPU seconds.
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
TRAIN = ("train", "prior", "--z", "palette", "--steps", "2")
COMMANDS = {
    "status": ("status",),
    "planning, 1,000 shards due": ("extract", "boxes", "--dry-run"),
    "planning, none due": ("extract", "palette", "--dry-run"),
    "training, two steps": TRAIN,
    "training, finished already": TRAIN,
}
CHILD = """
import json, re, sys, time
from pathlib import Path

start = time.perf_counter()
if sys.argv[1] == "train":
    import pipelines.train.prior


def used():
    # Not getrusage's peak, which begins with that of the parent.
    (peak,) = re.findall(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())
    return time.perf_counter() - start, time.process_time(), int(peak) * 1024 / 1e6


imports = used()
from kaleido_cli.app import app

try:
    app(sys.argv[1:], standalone_mode=False)
finally:
    print(json.dumps([imports, used()]))
"""


def main() -> None:
    """Print what each command takes."""
    with tempfile.TemporaryDirectory() as name:
        workspace = Workspace.init(Path(name) / "many")
        fill(workspace)
        for what, command in COMMANDS.items():
            print(f"{what}: {run(workspace, *command)}", flush=True)


def fill(workspace: Workspace) -> None:
    """Make one shard of scenes with palettes, and link it to all others.

    Keys are then the same in all shards. Commands read each shard by itself, so they do the same
    work as with others.
    """
    write_scenes(workspace, RECORDS, seed=1, size=SIDE, shard_size=RECORDS)
    extract(workspace, ["palette"])
    for folder in (workspace.data, workspace.latents("palette")):
        files = [path for path in folder.iterdir() if path.name.startswith("000000.")]
        for number in range(1, SHARDS):
            for path in files:
                os.link(path, folder / f"{number:06d}{path.suffix}")


def run(workspace: Workspace, *arguments: str) -> str:
    """Run `kaleido` in a process of its own, and say what it took."""
    command = [sys.executable, "-c", CHILD, *arguments, "-w", str(workspace.root)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    imports, whole = json.loads(done.stdout.splitlines()[-1])
    parts = (
        f"{whole[index]:,.1f} {unit} ({whole[index] - imports[index]:,.1f} beyond imports)"
        for index, unit in enumerate(("s", "CPU s", "MB"))
    )
    return ", ".join(parts)


if __name__ == "__main__":
    main()

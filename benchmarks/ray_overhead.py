"""Measure what a Ray cluster of one node costs beside the processes of the local engine.

`kaleido extract boxes` with the shipped detector on 10,000 scenes of 64 pixels, whole processes,
start of the cluster included, as many workers on both sides, alternating. CPU seconds count every
process of the run, Ray's own too, so they compare on a busy machine. The aim: at most 15 % more.
"""

from __future__ import annotations

import argparse
import ctypes
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from statistics import median
from threading import Event, Thread

from pipelines.scenes.generate import write_scenes
from pipelines.workspace.workspace import Workspace

RECORDS, SHARD, SIDE = 10_000, 250, 64
ENGINES = ("local", "ray")
PR_SET_CHILD_SUBREAPER = 36
NICENESS = "RAY_worker_niceness"


def main() -> None:
    """Print seconds of both engines, and their ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    # Processes whose parent has ended become ours, so that their time is counted.
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    os.environ[NICENESS] = "0"  # as the local engine's
    took: dict[str, list[tuple[float, float]]] = defaultdict(list)
    with tempfile.TemporaryDirectory() as name:
        workspace = Workspace.init(Path(name) / "scenes")
        write_scenes(workspace, RECORDS, seed=1, size=SIDE, shard_size=SHARD)
        written = set()
        for number in range(options.rounds):
            for engine in ENGINES:
                took[engine].append(run(workspace, engine, options.workers))
                written.add(contents(workspace))
                print(f"round {number + 1}, {engine}: {shown(took[engine][-1])}", flush=True)
    assert len(written) == 1, "both write the same bytes"
    for place, unit in enumerate(("seconds", "CPU seconds")):
        local, ray = (median(each[place] for each in took[engine]) for engine in ENGINES)
        print(f"{unit}: local {local:.1f}, ray {ray:.1f}, {ray / local:.3f} times")


def run(workspace: Workspace, engine: str, workers: int) -> tuple[float, float]:
    """Extract boxes anew; return seconds and CPU seconds."""
    shutil.rmtree(workspace.root / "latents", ignore_errors=True)
    command = [sys.executable, "-m", "kaleido_cli", "extract", "boxes", "--engine", engine]
    command += ["--workers", str(workers), "--workspace", str(workspace.root)]
    start = time.perf_counter()
    with Meter() as meter:
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        seconds = time.perf_counter() - start
        time.sleep(2)  # what is left of the cluster ends
    by_name: dict[str, float] = defaultdict(float)
    for name, cpu in meter.used.values():
        by_name[name] += cpu
    print("  ", ", ".join(f"{name} {cpu:.1f}" for name, cpu in by_name.items() if cpu >= 0.1))
    return seconds, sum(by_name.values())


class Meter:
    """Looks at all processes that descend from this one, again and again.

    The CPU time of children would not do: a node's processes are reaped by Ray.

    Attributes:
        used: Name and CPU seconds of each process when it was last seen.
    """

    def __init__(self) -> None:
        self.used: dict[int, tuple[str, float]] = {}
        self._before: set[int] = set(descendants())
        self._stop = Event()
        self._thread = Thread(target=self._watch)

    def __enter__(self) -> Meter:
        """Begin."""
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        """End."""
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._stop.wait(0.1):
            found = descendants()
            self.used |= {pid: found[pid] for pid in found.keys() - self._before}


def descendants() -> dict[int, tuple[str, float]]:
    """Return the processes that descend from this one, their names and CPU seconds."""
    parents, seen = {}, {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            name, _, rest = path.read_text().partition("(")[2].rpartition(") ")
        except OSError:
            continue  # it has ended
        pid, fields = int(path.parent.name), rest.split()
        parents[pid] = int(fields[1])
        cpu = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
        seen[pid] = name, cpu
    found, last = set(), {os.getpid()}
    while last:
        last = {pid for pid, parent in parents.items() if parent in last}
        found |= last
    return {pid: seen[pid] for pid in found}


def contents(workspace: Workspace) -> tuple[tuple[str, bytes], ...]:
    """Return the names and bytes of all files that were written."""
    files = sorted((workspace.root / "latents" / "boxes").iterdir())
    return tuple((file.name, file.read_bytes()) for file in files)


def shown(pair: tuple[float, float]) -> str:
    """Write seconds and CPU seconds."""
    return f"{pair[0]:.1f} s, {pair[1]:.1f} CPU s"


if __name__ == "__main__":
    main()

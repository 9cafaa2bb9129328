"""Fuzz targets with atheris: ``python -m tests.fuzz tar captions -max_total_time=60``.

Without a name all targets are fuzzed, one after the other, each in a process of its own. Options
are those of libFuzzer. The input of a fault is written to the folder that ``-artifact_prefix``
names, by default the current one; ``python -m tests.fuzz tar FILE`` runs such an input again.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["pipelines"]):
    from tests.fuzz.targets import TARGETS

LIMITS = ("-timeout=20", "-rss_limit_mb=4096", "-max_len=4096", "-print_final_stats=1")
"""Seconds for one input, MiB of memory, bytes of an input; later options override them."""


def fuzz(name: str, options: list[str]) -> None:
    """Vary the seeds of a target until the time is over or a fault is found; ends the process."""
    with tempfile.TemporaryDirectory() as folder:
        for number, seed in enumerate(TARGETS[name].seeds()):
            Path(folder, f"seed-{number}").write_bytes(seed)
        corpus = [] if any(Path(option).is_file() for option in options) else [folder]
        atheris.Setup([sys.argv[0], *LIMITS, *options, *corpus], TARGETS[name].run)
        atheris.Fuzz()


def main() -> None:
    """Fuzz one target here, or each of several in a process of its own."""
    names = [word for word in sys.argv[1:] if word in TARGETS] or list(TARGETS)
    options = [word for word in sys.argv[1:] if word not in TARGETS]
    if len(names) == 1:
        fuzz(names[0], options)
    for name in names:
        print(f"{name}:", flush=True)
        subprocess.run([sys.executable, "-m", "tests.fuzz", name, *options], check=True)


main()

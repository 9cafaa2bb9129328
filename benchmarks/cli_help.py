"""Compare the time of `kaleido --help` with that of a bare Typer app of two commands.

The aim is at most 1.3 times the time of the bare app.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path

from _paired import in_turns

ROOT = Path(__file__).resolve().parents[1]
RUNS = 15
LIMIT = 1.3
BARE = '''
import typer

app = typer.Typer()


@app.command()
def one(n: int = 1) -> None:
    """First."""


@app.command()
def two(n: int = 1) -> None:
    """Second."""


app()
'''


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        bare = Path(folder) / "bare.py"
        bare.write_text(BARE)
        commands = {
            "bare app --help": [str(bare), "--help"],
            "kaleido --help": ["-m", "kaleido_cli", "--help"],
            "kaleido extract --help": ["-m", "kaleido_cli", "extract", "--help"],
        }
        times = in_turns({name: partial(run, line) for name, line in commands.items()}, RUNS)
    medians = {name: statistics.median(values) for name, values in times.items()}
    reference = medians["bare app --help"]
    for name, median in medians.items():
        print(f"{name:24} {median * 1000:6.0f} ms   {median / reference:.2f} x")
    if max(medians.values()) > LIMIT * reference:
        sys.exit(f"over {LIMIT} x")


def run(arguments: list[str]) -> None:
    """Run Python with these arguments."""
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    subprocess.run(
        [sys.executable, *arguments], env=environment, check=True, stdout=subprocess.DEVNULL
    )


if __name__ == "__main__":
    main()

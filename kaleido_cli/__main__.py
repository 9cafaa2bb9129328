"""The program's start: `kaleido`, or `python -m kaleido_cli`."""

from __future__ import annotations

import os
import signal
import sys
from importlib.util import find_spec
from io import TextIOWrapper
from pathlib import Path
from types import FrameType
from typing import NoReturn

QUIET = {"DIFFUSERS_VERBOSITY": "error", "TRANSFORMERS_VERBOSITY": "error"}
"""Their remarks on configurations are for developers; a user may set these otherwise."""


NARROWEST = 40
"""Columns below which help and tables cannot be read; some terminals claim to have none."""


def main() -> None:
    """Run the command line."""
    if problem := shadowed():
        sys.exit(problem)
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    try:
        end_tidily()
        fit_terminal()
        from pipelines.core.compute import prepare_threads

        prepare_threads()
        from kaleido_cli.app import app

        app(prog_name="kaleido")
    except KeyboardInterrupt:  # while modules are imported, or in the last lines
        print("Stopped.", file=sys.stderr)
        sys.exit(130)


def end_tidily() -> None:
    """Let SIGTERM and SIGHUP end the program like Ctrl-C: unfinished files are removed first.

    Signals that are ignored, as SIGHUP is under nohup, stay ignored. A second one ends it at once.
    """
    for name in ("SIGTERM", "SIGHUP"):
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, _leave)


def _leave(number: int, frame: FrameType | None) -> NoReturn:
    signal.signal(number, signal.SIG_DFL)
    raise SystemExit(128 + number)


def fit_terminal() -> None:
    """Make output possible on terminals and pipes of any encoding and any width."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    columns = os.environ.get("COLUMNS", "")
    if columns.isdecimal() and int(columns) < NARROWEST:
        os.environ["COLUMNS"] = str(NARROWEST)


def shadowed() -> str:
    """Say what is wrong if the name `pipelines` does not lead to ours, without importing it."""
    home = Path(__file__).resolve().parent.parent
    spec = find_spec("pipelines")
    if spec is None:
        return f"kaleido: the package `pipelines` is missing from {home}. Reinstall Kaleido."
    places = spec.submodule_search_locations or [spec.origin or ""]
    found = [Path(place).resolve() for place in places]
    if found == [home / "pipelines"]:
        return ""
    return (
        f"kaleido: the import name `pipelines` leads to {', '.join(map(str, found))}, "
        f"which is not Kaleido's ({home / 'pipelines'}). "
        "Uninstall the other package, or run from another folder."
    )


if __name__ == "__main__":
    main()

"""Run the tests of modules for each of their mutants: ``run.py FILE [MOST [TEST...]]``.

Importing torch and its company takes seconds, a test milliseconds. So this process imports them
once, and forks for every mutant. The fork runs the tests that reach the changed lines, the fastest
first, until one fails; if none does, all tests of the module. Modules are changed in place, so call
this in a copy of the repository.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import random
import resource
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from coverage import CoverageData

OURS = ("pipelines", "kaleido_cli", "kaleido_diffusion", "recipes", "tests")
MEMORY = 9 * 2**30
"""Bytes that a mutant may take; some ask for all there are."""

QUIET = ("-q", "-n", "0", "-p", "no:cacheprovider")
QUIET += ("-W", "ignore::pytest.PytestAssertRewriteWarning")  # the plug-ins are imported already


@dataclass
class Told:
    """What a fork says of its tests, also as a plug-in of pytest."""

    path: Path
    seconds: dict[str, float] = field(default_factory=dict)
    failed: str = ""

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self.seconds[report.nodeid] = self.seconds.get(report.nodeid, 0.0) + report.duration
        if report.failed:
            self.failed = self.failed or report.nodeid

    def pytest_sessionfinish(self) -> None:
        foreign = [name for name in sys.modules if name.split(".")[0] not in OURS]
        said = {"seconds": self.seconds, "failed": self.failed, "modules": foreign}
        self.path.write_text(json.dumps(said))


class Runner:
    """Runs tests in forks.

    Args:
        module: Path of the module that is changed, relative to the current folder.
        scratch: A folder for the files of the forks.
        tests: What pytest runs; by default the module's own file of tests, or the folder where
            that would be.
    """

    def __init__(self, module: Path, scratch: Path, tests: Sequence[str] = ()) -> None:
        folder = Path("tests", *module.parts[1:]).parent
        own = folder / f"test_{module.name}"
        self.tests = list(tests) or [str(own if own.is_file() else folder)]
        self.module, self._said, self._scratch = module, scratch / "said.json", scratch
        self.reached: dict[int, set[str]] = {}
        self.seconds: dict[str, float] = {}
        self.cpu = 600.0
        self._learn()

    def _learn(self) -> None:
        """Run the tests of the unchanged module, and import what they have imported."""
        data = self._scratch / "coverage"
        os.environ["COVERAGE_FILE"] = str(data)
        dotted = ".".join(self.module.with_suffix("").parts)
        status, used = self.run(
            [*self.tests, f"--cov={dotted}", "--cov-context=test", "--cov-report="]
        )
        if status:
            sys.exit(f"the tests of {self.module} fail without any change: see {self._scratch}")
        said = json.loads(self._said.read_text())
        self.seconds, self.cpu = said["seconds"], 5.0 * used + 15.0
        measured = CoverageData(str(data))
        measured.read()
        for file in measured.measured_files():
            for line, contexts in measured.contexts_by_lineno(file).items():
                self.reached[line] = {name.rpartition("|")[0] for name in contexts}
        for name in set(said["modules"]) - set(sys.modules):
            with suppress(Exception):
                importlib.import_module(name)
        gc.collect()
        gc.freeze()

    def is_noticed(self, lines: Sequence[int]) -> bool:
        """Tell whether a test fails, or ends no more, with the module as it is now."""
        hit = set[str]().union(*(self.reached.get(n, set()) for n in range(lines[0], lines[1] + 1)))
        reaching = sorted(hit & set(self.seconds), key=lambda name: self.seconds[name])
        for tests in (reaching if "" not in hit else [], self.tests):
            if tests and self.run([*tests, "-x"])[0] != 0:
                return True
        return False

    def run(self, arguments: Sequence[str]) -> tuple[int, float]:
        """Run pytest in a fork; return its exit status, or the signal as -N, and its CPU time."""
        pid = os.fork()
        if pid == 0:
            os.setsid()
            os._exit(_guarded(lambda: self._pytest(arguments), self.cpu, self._scratch / "log"))
        end, done, status = time.monotonic() + 20 * self.cpu, 0, 0
        while not done:
            done, code, usage = os.wait4(pid, os.WNOHANG)
            status = os.waitstatus_to_exitcode(code) if done else 0
            if time.monotonic() > end:
                os.killpg(pid, signal.SIGKILL)
            time.sleep(0.01)
        with suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGKILL)  # processes that the tests have left
        return status, usage.ru_utime + usage.ru_stime

    def _pytest(self, arguments: Sequence[str]) -> int:
        base = tempfile.mkdtemp(dir=self._scratch)
        try:
            options = [*arguments, *QUIET, f"--basetemp={base}/tests"]
            return int(pytest.main(options, plugins=[Told(self._said)]))
        finally:
            shutil.rmtree(base, ignore_errors=True)


def _guarded(work: Callable[[], int], cpu: float, log: Path) -> int:
    """Call a function with limits on CPU time and memory, and its output in a file."""
    resource.setrlimit(resource.RLIMIT_CPU, (int(cpu), int(cpu) + 5))
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, MEMORY))
    file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(file, 1)
    os.dup2(file, 2)
    try:
        return work()
    except BaseException as error:
        print(repr(error), flush=True)
        return 99


def survivors(
    module: Path, mutants: Sequence[dict[str, Any]], scratch: Path, tests: Sequence[str] = ()
) -> Iterator[dict[str, Any]]:
    """Yield the mutants of a module that no test notices."""
    source = module.read_text("utf-8")
    for cached in module.parent.glob(f"__pycache__/{module.stem}.*.pyc"):
        cached.unlink()  # the changes of one second would look alike
    runner = Runner(module, scratch, tests)
    try:
        for mutant in mutants:
            module.write_text(mutant["code"], "utf-8")
            if not runner.is_noticed(mutant["lines"]):
                yield mutant
    finally:
        module.write_text(source, "utf-8")


def main(file: str, most: str = "", *tests: str) -> None:
    """Try the mutants of a file, of each module all or `most` at random, and list survivors."""
    sys.path.insert(0, str(Path.cwd()))
    os.environ["PYTHONDONTWRITEBYTECODE"] = "1"
    sys.dont_write_bytecode = True
    by_module: dict[str, list[dict[str, Any]]] = {}
    for line in Path(file).read_text("utf-8").splitlines():
        mutant = json.loads(line)
        by_module.setdefault(mutant["module"], []).append(mutant)
    for module, mutants in by_module.items():
        chosen = random.Random(0).sample(mutants, min(int(most or len(mutants)), len(mutants)))
        survived = 0
        with tempfile.TemporaryDirectory() as scratch:
            for mutant in survivors(Path(module), chosen, Path(scratch), tests):
                survived += 1
                print(f"{module}:{mutant['lines'][0]}\n{mutant['diff']}", flush=True)
        noticed = len(chosen) - survived
        print(f"{module}: {noticed} of {len(chosen)} changes were noticed", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])

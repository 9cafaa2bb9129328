"""Stopped commands: a status, no traceback, no half files, and the same command goes on."""

from __future__ import annotations

import errno
import os
import resource
import shlex
import shutil
import signal
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from pipelines import demo
from pipelines.core import files
from pipelines.core.files import TEMPORARY
from pipelines.engines import local
from pipelines.evaluate import run as evaluation
from pipelines.models.diffusion import Diffusion
from pipelines.train.diffusion import DiffusionTask
from pipelines.workspace.workspace import Workspace
from tests.e2e.conftest import copy_of
from tests.forks import disturbed, forked, kaleido

pytestmark = pytest.mark.skipif(os.name == "nt", reason="needs fork and signals")


@dataclass(frozen=True)
class Case:
    """A command to be stopped.

    Attributes:
        arguments: Of the program, which runs in the workspace.
        made: The folder that it makes.
        call: Which call of a function is disturbed.
        prepare: Called before, with the workspace.
        write: The function where the disk is full: an object and its name. Files are synced before
            they get their names.
        place: The function where a signal comes, if it is another.
        about: A text in the arguments of that call.
    """

    arguments: str
    made: str
    call: int = 2
    prepare: Callable[[Workspace], None] = lambda workspace: None
    write: tuple[object, str] = (os, "fsync")
    place: tuple[object, str] | None = None
    about: str = ""


def _without_data(workspace: Workspace) -> None:
    shutil.rmtree(workspace.data)


def _without_latents(workspace: Workspace) -> None:
    shutil.rmtree(workspace.latents("palette"))


def _pushed(workspace: Workspace) -> None:
    assert run(workspace, CASES["push"])[0] == 0


def _untrained(workspace: Workspace) -> None:
    shutil.rmtree(workspace.models("diffusion"))


CASES = {
    "data": Case("data folder ../pictures --shard-size 4", "data", 4, _without_data),
    "extract": Case("extract palette", "latents/palette", 5, _without_latents),
    "workers": Case(
        "extract palette --workers 2",
        "latents/palette",
        1,
        _without_latents,
        place=(local, "as_completed"),
    ),
    "train": Case(
        "train diffusion", "models/diffusion", 3, _untrained, place=(DiffusionTask, "loss")
    ),
    "sample": Case('sample "a star" --name a', "samples/a"),
    "plan": Case('plan "a star" --n 3 --name a', "plans/a", 1),
    "evaluate": Case("evaluate --name a", "reports/a", 3),
    "push": Case("push {store}", "../store", 3, write=(shutil, "copyfile")),
    "pull": Case("pull {store} -w ../pulled", "../pulled", 3, _pushed, (shutil, "copyfile")),
}
"""The demo, which takes longest, has a test of its own."""


LONG, SLOW = ("workers", "train", "evaluate"), [pytest.mark.slow]
"""Cases that take longest, as all but one of the killed evaluations."""

FULL = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

LIMIT = 4_000
"""Bytes that a file may have: all but sample write a larger one somewhere."""

ENDS: dict[str, tuple[int | OSError | None, int]] = {
    "ctrl-c": (signal.SIGINT, 130),
    "sigterm": (signal.SIGTERM, 143),
    "sighup": (signal.SIGHUP, 129),
    "full": (FULL, 1),
    "limit": (None, 1),
}
"""What disturbs a command, and its exit status."""


def run(
    workspace: Workspace, case: Case, by: int | Exception | None = None, limit: int | None = None
) -> tuple[int, str]:
    """Run a case, perhaps disturbed, or with a limit of a file's size; return status and output."""
    output = workspace.root.with_name("output")

    def action() -> None:
        os.chdir(workspace.root)
        if by is not None:
            place = case.place if isinstance(by, int) and case.place else case.write
            disturbed(*place, by, case.call, case.about)
        if limit is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
        store = workspace.root.with_name("store").as_uri()
        kaleido(*shlex.split(case.arguments.format(store=store)))

    status = forked(action, output)
    return status, output.read_text("utf-8")


def contents(folder: Path) -> dict[str, bytes]:
    """Bytes of the files in a folder."""
    paths = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


def half_files(workspace: Workspace) -> list[Path]:
    return [path for path in workspace.root.rglob("*") if TEMPORARY.fullmatch(path.name)]


@pytest.fixture(scope="session")
def undisturbed(_complete, tmp_path_factory) -> Callable[[str], dict[str, bytes]]:
    """What a case makes if nothing stops it."""
    known: dict[str, dict[str, bytes]] = {}

    def find(name: str) -> dict[str, bytes]:
        if name not in known:
            case = CASES[name]
            workspace = copy_of(_complete, tmp_path_factory.mktemp(name) / "workspace")
            case.prepare(workspace)
            status, said = run(workspace, case)
            assert status == 0, said
            known[name] = contents(workspace.root / case.made)
        return known[name]

    return find


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("name", [pytest.param(n, marks=SLOW[: n in LONG]) for n in CASES])
def test_a_disturbed_command_leaves_nothing_half_done_and_goes_on(complete, undisturbed, name, end):
    case, (by, expected_status) = CASES[name], ENDS[end]
    if (
        (end in ("full", "limit") and name == "workers")
        or (end == "limit" and name == "sample")
        or (end == "sighup" and name != "sample")
    ):
        pytest.skip("no more than the other cases")
    case.prepare(complete)
    if expected_status == 1 and name == "train":  # the last good checkpoint must survive
        assert run(complete, case, signal.SIGTERM)[0] == 143
    status, said = run(complete, case, by, LIMIT if by is None else None)
    assert status == expected_status, said
    assert "Traceback" not in said
    assert ("Free some space" in said) == (expected_status == 1)
    assert not half_files(complete)
    status, said = run(complete, case)
    assert status == 0, said
    made, expected = contents(complete.root / case.made), undisturbed(name)
    assert made.keys() == expected.keys()
    assert [key for key in made if made[key] != expected[key]] == []


KILLED: dict[str, tuple[tuple[object, str], int, str]] = {
    "drawing": ((Diffusion, "forward"), 5, ""),
    "cell": ((files, "_sync"), 2, ".npz"),
    "measuring": ((evaluation, "clustered"), 2, ""),
    "report": ((files, "_sync"), 1, "report.md"),
    "page": ((evaluation, "render"), 1, ""),
}
"""Where an evaluation is killed: in which call of which function about what."""


@pytest.mark.parametrize(
    "where", [pytest.param(place, marks=SLOW[: place != "report"]) for place in KILLED]
)
def test_a_killed_evaluation_ends_with_the_report_of_an_undisturbed_one(
    complete, undisturbed, where
):
    case, (place, call, about) = CASES["evaluate"], KILLED[where]
    killed = replace(case, place=place, call=call, about=about)
    assert run(complete, killed, signal.SIGKILL)[0] == -signal.SIGKILL
    cells = {path: path.read_bytes() for path in complete.logs.rglob("*.npz")}
    assert (complete.reports("a") / "report.json").exists() == (where in ("report", "page"))
    halves = {path.parent.relative_to(complete.root).as_posix() for path in half_files(complete)}
    assert halves == {"cell": {"logs/evaluate/a"}, "report": {"reports/a"}}.get(where, set())
    status, said = run(complete, case)
    assert status == 0, said
    assert all(path.read_bytes() == data for path, data in cells.items())  # none is made again
    assert contents(complete.root / case.made) == undisturbed("evaluate")
    assert not half_files(complete)


@pytest.mark.slow
@pytest.mark.parametrize("end", ["ctrl-c", "sigterm"])
@pytest.mark.parametrize("call", [3, 20, 60])
def test_a_stopped_demo_goes_on(tmp_path, monkeypatch, end, call):
    """In its data, its latents, its models."""
    monkeypatch.setattr(demo, "SCENES", 40)
    few = ("prior.steps=2", "diffusion.steps=2", "evaluate.captions=1", "evaluate.n=4")
    few += ("evaluate.steps=1", "evaluate.cfg=1", "diffusion.batch_size=2")
    changes = [word for change in few for word in ("--set", change)]
    by, expected_status = ENDS[end]
    root, output = tmp_path / "demo", tmp_path / "output"

    def stopped() -> None:
        disturbed(os, "fsync", by, call)
        kaleido("demo", root, *changes)

    status = forked(stopped, output)
    assert status == expected_status, output.read_text()
    assert "Traceback" not in output.read_text()
    assert not list(root.rglob(".*.kaleido-tmp-*"))
    assert forked(lambda: kaleido("demo", root, *changes), output) == 0, output.read_text()
    assert (root / "reports/demo/report.json").is_file()
    assert not list(root.glob(".kaleido-*"))
    assert forked(lambda: kaleido("demo", root, *changes), output) == 1  # it is finished
    assert "workspace already" in output.read_text()


def test_a_demo_with_a_wrong_setting_makes_nothing(tmp_path, invoke):
    invoke("demo", str(tmp_path / "demo"), "--set", "prior.steps=few", code=1)
    assert not (tmp_path / "demo").exists()

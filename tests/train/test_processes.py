"""Several processes train one model, and come to what one process comes to."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from pipelines.core.errors import KaleidoError
from pipelines.train.diffusion import train_diffusion
from pipelines.train.launch import run_ranks
from pipelines.train.log import LOG_FILE
from pipelines.train.loop import train
from pipelines.train.prior import train_prior
from pipelines.train.processes import MPI_SIZES, UNSUPPORTED
from pipelines.train.tokenizer import train_tokenizer
from pipelines.workspace.workspace import Workspace
from tests.train.conftest import adapt
from tests.train.forked import in_ranks
from tests.train.stopper import Stopper
from tests.train.test_loop import OPTIONS, InterruptedTask, LineTask

TRAINERS = {
    "prior": train_prior,
    "diffusion": train_diffusion,
    "tokenizer": train_tokenizer,
}


@pytest.fixture
def steady(trained) -> Workspace:
    """A trained prior; settings in fp32, without dropout, whose masks belong to a micro-batch."""
    precise = {f"{name}__precision": "fp32" for name in TRAINERS}
    return adapt(trained, prior__dropout_steps=0, tokenizer__decoder_steps=2, **precise)


def _losses(workspace: Workspace, name: str) -> list[float]:
    """Return the losses of the first steps: each is logged."""
    text = (workspace.logs / name / LOG_FILE).read_text("utf-8")
    return [json.loads(line)["loss"] for line in text.splitlines()]


def _weights(workspace: Workspace, name: str) -> dict[str, torch.Tensor]:
    paths = sorted(workspace.models(name).rglob("*.safetensors"))
    return {f"{path.parent.name}.{k}": v for path in paths for k, v in load_file(path).items()}


def _apart(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> float:
    """Return the distance of two models, relative to their size."""
    error = sum((found[name] - value).square().sum() for name, value in expected.items())
    return float((error / sum(value.square().sum() for value in expected.values())).sqrt())


def _run(
    workspace: Workspace, folder: Path, name: str, micro: int = 0, processes: int = 1
) -> Workspace:
    """Train in a copy of the workspace, and return it."""
    root = folder / f"{name}-{micro}-{processes}"
    shutil.copytree(workspace.root, root, ignore=shutil.ignore_patterns("logs"))
    own = adapt(replace(workspace, root=root), train__micro_batch=micro)
    if processes == 1:
        TRAINERS[name](own)
    else:
        summaries = in_ranks(processes, lambda: TRAINERS[name](own))
        assert [getattr(each, "steps", each) for each in summaries] == [
            summaries[0].steps
        ] * processes
    return own


@pytest.mark.parametrize("name", TRAINERS)
def test_a_step_is_the_same_however_it_is_divided(steady, tmp_path, name) -> None:
    whole = _run(steady, tmp_path, name)
    for micro, processes in ((1, 1), (0, 2), (3, 2)):
        parts = _run(steady, tmp_path, name, micro, processes)
        assert _losses(parts, name) == pytest.approx(_losses(whole, name), rel=1e-3)
        # AdamW divides by the gradient's size, so single weights with small ones differ more.
        assert _apart(_weights(parts, name), _weights(whole, name)) < 5e-3


def test_two_processes_with_a_half_each_give_the_same_bits(steady, tmp_path) -> None:
    one, two = (_run(steady, tmp_path, "prior", 4, processes) for processes in (1, 2))
    assert _losses(one, "prior") == _losses(two, "prior")
    expected = _weights(one, "prior")
    assert all(torch.equal(value, expected[key]) for key, value in _weights(two, "prior").items())


def test_rows_of_different_lengths_count_by_their_tokens(steady, tmp_path) -> None:
    """z of random subsets of kinds differ in length, so a mean of means would be another loss."""
    from pipelines.models.prior import Prior
    from pipelines.train.prior_task import PriorTask
    from pipelines.train.stream import RecordStream

    prior = Prior.load(steady.models("prior"))
    task = PriorTask(prior, RecordStream(steady, ("palette",), 0), 0)
    lengths = {task.weigh(task.batch(at, 1), 1) for at in range(8)}
    assert len(lengths) > 1
    assert task.weigh(task.batch(0, 8), 8)[0] == pytest.approx(
        sum(task.weigh(task.batch(at, 1), 1)[0] for at in range(8))
    )


@pytest.mark.parametrize("first", [1, 2])
def test_a_run_goes_on_with_another_number_of_processes(
    steady, tmp_path, monkeypatch, first
) -> None:
    whole = _run(steady, tmp_path, "diffusion", micro=2)
    root = tmp_path / "parts"
    shutil.copytree(steady.root, root, ignore=shutil.ignore_patterns("logs"))
    parts = adapt(replace(steady, root=root), train__micro_batch=2)
    monkeypatch.setattr("pipelines.train.loop.CHECKPOINT_SECONDS", 0.0)

    def stopped() -> None:
        train_diffusion(parts, progress=Stopper(5))

    def resumed() -> int:
        return train_diffusion(parts).resumed_at

    if first == 1:
        with pytest.raises(KeyboardInterrupt):
            stopped()
        assert in_ranks(2, resumed) == [5, 5]
    else:
        died, other = in_ranks(2, stopped)
        assert isinstance(died, KeyboardInterrupt)
        assert isinstance(other, KaleidoError) and other.code == "worker-died"
        assert resumed() == 5
    assert _losses(parts, "diffusion") == pytest.approx(_losses(whole, "diffusion"), rel=1e-5)


def test_the_first_process_locks_writes_and_reports(steady, tmp_path) -> None:
    class Counter(Stopper):
        def __init__(self) -> None:
            super().__init__(10_000)

    heard = Counter()

    def run() -> int:
        train_prior(steady, restart=True, progress=heard)
        return 10_000 - heard.left

    assert in_ranks(2, run) == [steady.settings.prior.steps, 0]
    with steady.lock("models/prior"):
        refused, _ = in_ranks(2, lambda: train_prior(steady, restart=True))
    assert refused.code == "locked"
    assert _losses(steady, "prior")


def test_a_signal_to_one_process_stops_all_of_them(tmp_path) -> None:
    checkpoint = tmp_path / "checkpoint"

    def run() -> None:
        rank = int(os.environ["RANK"])
        task = InterruptedTask(stop_at=25) if rank == 1 else InterruptedTask()
        train(task, OPTIONS, checkpoint, {}, "line")

    results = in_ranks(2, run)
    assert [type(each) for each in results] == [KeyboardInterrupt] * 2
    assert json.loads((checkpoint / "state.json").read_text())["step"] == 24


def test_the_error_of_one_process_ends_all_of_them(tmp_path) -> None:
    class Failing(LineTask):
        def batch(self, start: int, count: int) -> torch.Tensor:
            if start > 40 and os.environ["RANK"] == "1":
                raise KaleidoError("shard 3", "it is damaged.", code="bad-data")
            return super().batch(start, count)

    def run() -> None:
        train(Failing(), OPTIONS, tmp_path / "checkpoint", {}, "line")

    first, second = in_ranks(2, run)
    assert (first.code, second.code) == ("worker-died", "bad-data")


def test_more_processes_than_records_are_no_harm(tmp_path) -> None:
    options = replace(OPTIONS, steps=5, batch_size=2)

    def run() -> float:
        task = LineTask()
        train(task, options, tmp_path / os.environ.get("WORLD_SIZE", "1"), {}, "line")
        return task.model.weight.item()

    alone = run()
    assert in_ranks(3, run) == pytest.approx([alone] * 3)


@pytest.mark.parametrize("variable", [*MPI_SIZES, *UNSUPPORTED])
def test_launchers_that_ask_for_more_are_refused(trained, monkeypatch, variable) -> None:
    before = {path: path.stat().st_mtime_ns for path in trained.root.rglob("*")}
    monkeypatch.setenv(variable, "true" if variable in UNSUPPORTED else "2")
    for start in TRAINERS.values():
        with pytest.raises(KaleidoError) as caught:
            start(trained, restart=True)
        assert caught.value.code == "many-processes"
    assert {path: path.stat().st_mtime_ns for path in trained.root.rglob("*")} == before


PROGRAM = """
import os, signal, sys, time
rank = int(os.environ["RANK"])
what = sys.argv[1]
if what == "fail" and rank == 1:
    sys.exit("the second one fails")
if what == "kill" and rank == 1:
    os.kill(os.getpid(), signal.SIGKILL)
if what == "end":
    sys.exit(0)
if what == "stop":
    signal.signal(signal.SIGTERM, lambda *_: (time.sleep(rank == 0), sys.exit(143)))
    open(sys.argv[2] + str(rank), "w").close()
time.sleep(100)
"""


def test_processes_end_together(capfd, monkeypatch) -> None:
    begun = time.monotonic()
    assert run_ranks([sys.executable, "-c", PROGRAM, "end"], 2) == 0
    assert run_ranks([sys.executable, "-c", PROGRAM, "fail"], 2) == 1
    assert "the second one fails" in capfd.readouterr().err
    with pytest.raises(KaleidoError) as caught:
        run_ranks([sys.executable, "-c", PROGRAM, "kill"], 2)
    assert caught.value.code == "worker-died" and "1" in caught.value.what
    assert time.monotonic() - begun < 60


def test_a_launcher_passes_signals_on_and_waits(tmp_path) -> None:
    code = (
        "import sys; from pipelines.train.launch import run_ranks; "
        f"sys.exit(run_ranks([sys.executable, '-c', {PROGRAM!r}, 'stop', {str(tmp_path)!r} + '/']"
        ", 2))"
    )
    process = subprocess.Popen([sys.executable, "-c", code])
    try:
        deadline = time.monotonic() + 60
        while len(list(tmp_path.iterdir())) < 2 and time.monotonic() < deadline:
            time.sleep(0.05)
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 143
    finally:
        process.kill()
        process.wait()

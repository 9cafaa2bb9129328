"""A real process saves its work when the system asks it to end."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

PROGRAM = """
import sys
import time
from pathlib import Path

import torch
from torch import nn

from pipelines.train.loop import train
from pipelines.train.options import TrainOptions
from pipelines.train.task import Task


class Slow(Task):
    model = nn.Linear(1, 1)

    def batch(self, start, count):
        return torch.ones(count, 1)

    def loss(self, batch, noise):
        time.sleep(0.01)
        return self.model(batch).square().mean()


options = TrainOptions(steps=10_000, batch_size=2, learning_rate=0.01, warmup=1, seed=0)
train(Slow(), options, Path(sys.argv[1]), {}, "slow")
"""


@pytest.mark.parametrize(
    ("number", "status"),
    [(signal.SIGTERM, 128 + signal.SIGTERM), (signal.SIGHUP, 128 + signal.SIGHUP)],
)
def test_a_run_that_is_asked_to_end_saves_its_work(tmp_path, number, status) -> None:
    checkpoint, log = tmp_path / "checkpoint", tmp_path / "log.jsonl"
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(checkpoint)],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        # Under nohup SIGHUP is ignored, and ignored signals stay ignored in children.
        preexec_fn=lambda: signal.signal(number, signal.SIG_DFL),
    )
    try:
        deadline = time.monotonic() + 120
        while not log.exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        process.send_signal(number)
        assert process.wait(60) == status
    finally:
        process.kill()
        process.wait()
    state = json.loads((checkpoint / "state.json").read_text(encoding="utf-8"))
    assert state["step"] >= 1

"""The client against `transformers serve`, with a model of chance weights."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time

import pytest

from pipelines.servers.client import Client
from pipelines.servers.question import Question, ask_about
from pipelines.servers.reply import Reply
from pipelines.workspace.settings import ServerSettings
from tests.plan.planners.tiny_model import save_tiny_model

pytestmark = pytest.mark.slow
STARTS_WITHIN = 300.0


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """Run the server and yield its address and the model's name."""
    for package in ("fastapi", "uvicorn", "openai"):
        pytest.importorskip(package)
    home = tmp_path_factory.mktemp("served")
    model = save_tiny_model(home / "tiny")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "transformers.cli.transformers", "serve", str(model)]
    place = ["--host", "127.0.0.1", "--port", str(port), "--device", "cpu"]
    environment = {**os.environ, "HF_HOME": str(home), "HF_HUB_OFFLINE": "1"}
    log = (home / "log.txt").open("wb")
    process = subprocess.Popen([*command, *place], env=environment, stdout=log, stderr=log)
    try:
        limit = time.monotonic() + STARTS_WITHIN
        while not _answers(port):
            assert process.poll() is None, (home / "log.txt").read_text()
            assert time.monotonic() < limit
            time.sleep(0.5)
        yield f"http://127.0.0.1:{port}/v1", str(model)
    finally:
        process.terminate()
        process.wait()
        log.close()


def _answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def test_answers_are_read_and_kept(served, tmp_path):
    address, model = served
    client = Client(address, model, ServerSettings(concurrency=2), tmp_path)
    asked = [Question(ask_about("Describe it.", {"caption": f"a star {n}"}), 12) for n in range(4)]
    replies = client.ask(asked)
    assert all(isinstance(reply, Reply) and reply.text and reply.cut for reply in replies)
    assert client.spending.tokens_out == 4 * 12 and client.spending.tokens_in > 4 * 30
    again = Client(address, model, ServerSettings(), tmp_path)
    assert again.ask(asked) == replies and again.spending.requests == 0


def test_a_schema_that_it_does_not_know_is_left_out(served, tmp_path):
    address, model = served
    client = Client(address, model, ServerSettings(), tmp_path)
    question = Question(ask_about("Answer.", {"caption": "a star"}), 5, schema={"type": "object"})
    assert isinstance(client.ask([question])[0], Reply)

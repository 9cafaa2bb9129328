"""Descriptions by a server, through the command line, with a server that behaves as told."""

from __future__ import annotations

import base64
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import pipelines
from pipelines.core.errors import KaleidoError
from pipelines.extract.captioners.prompts import Prompt, split_prompts
from pipelines.latents.description import Description
from pipelines.workspace.reader import read_joined
from tests.servers.model_server import MODEL, model_server

ROOT = Path(pipelines.__file__).parents[1]
SENTENCE = "A drawing of one colour on paper that shows {}."


@pytest.fixture
def server():
    with model_server() as running:
        running.behaviour = describe
        yield running


@pytest.fixture
def run(invoke, workspace, write_data, records, server):
    """Return a function that describes ten records in shards of four."""
    write_data(records, 4)

    def extract(*flags: str, code: int = 0):
        place = ("--workspace", str(workspace.root), "--server", server.url, "--model", MODEL)
        return invoke("extract", "descriptions", *place, *flags, code=code)

    return extract


def subject(exchange) -> str:
    return exchange.text.rpartition("caption: ")[2].splitlines()[0].strip('"')


def describe(exchange) -> None:
    exchange.answer(SENTENCE.format(subject(exchange)))


def texts(workspace) -> dict[str, str]:
    return {
        record.key: record.latents["description"].text
        for shard in workspace.data_shards()
        for record in read_joined(workspace, shard, ["description"])
        if "description" in record.latents
    }


def test_every_picture_is_sent_as_it_is_and_described(run, server, workspace, records):
    said = run()
    assert texts(workspace) == {r.key: SENTENCE.format(r.caption) for r in records}
    assert f"{server.url}, on this machine" in said.err and "10 answers" in said.err
    sent = {
        base64.b64decode(part["image_url"]["url"].partition(",")[2])
        for body in server.requests
        for part in body["messages"][1]["content"]
        if part["type"] == "image_url"
    }
    assert sent == {record.image for record in records}
    assert all("drawing number" not in body["messages"][0]["content"] for body in server.requests)
    assert len(server.requests) == 10
    run()
    assert len(server.requests) == 10, "all shards are up to date"


def test_captions_alone_are_sent_where_that_is_asked_for(run, server, workspace):
    assert "Captions are sent" in run("--send", "captions").err
    assert len(texts(workspace)) == 10
    assert "image_url" not in json.dumps(server.requests)


def test_one_bad_answer_fails_its_record_only(run, server, workspace):
    def picky(exchange) -> None:
        match subject(exchange)[-1]:
            case "2":
                exchange.fail(400, "the picture is too small")
            case "3":
                exchange.answer("I'm sorry, I can't help with that picture.")
            case "4":
                exchange.answer("words " * 40, model="another")
            case "5" if exchange.number < 12:
                exchange.fail(429, Retry_After="0.05")
            case _:
                describe(exchange)

    server.behaviour = picky
    summary = json.loads(run("--json").out)["description"]
    reasons = dict(summary["failures"])
    assert (summary["ok"], summary["failed"]) == (7, 3)
    assert "too small" in reasons["r002"] and "refused" in reasons["r003"]
    assert "another model" in reasons["r004"]
    server.behaviour, before = describe, len(server.requests)
    run("--retry-failed")
    assert len(texts(workspace)) == 9, "the refusal was an answer, and is kept"
    assert len(server.requests) == before + 2


def test_answers_as_json_are_checked_and_asked_for_again(run, server, workspace):
    def clumsy(exchange) -> None:
        first = len(exchange.body["messages"]) == 2
        assert "response_format" in exchange.body
        answer = json.dumps({"description": SENTENCE.format(subject(exchange))})
        match subject(exchange)[-1]:
            case "1":
                exchange.answer("Sure! Here it is: " + answer if first else answer)
            case "2":
                exchange.answer(json.dumps({"description": 5}))
            case _:
                exchange.answer(answer)

    server.behaviour = clumsy
    summary = json.loads(run("--answer", "json", "--json").out)["description"]
    assert [key for key, _ in summary["failures"]] == ["r002"]
    assert texts(workspace)["r001"] == SENTENCE.format("drawing number 1")
    assert len(server.requests) == 8 + 2 + 3


def latents(workspace) -> dict[str, Description]:
    return {
        record.key: record.latents["description"]
        for shard in workspace.data_shards()
        for record in read_joined(workspace, shard, ["description"])
        if "description" in record.latents
    }


def test_a_picture_gets_several_descriptions_with_weights(run, server, workspace, tmp_path):
    prompt = tmp_path / "prompt.txt"
    prompt.write_text("In detail. {caption}\n=== 0.5\nList all. {caption}\n---\nIn few words.\n")

    def talk(exchange) -> None:
        system, last = (exchange.body["messages"][at]["content"] for at in (0, -1))
        if "In detail." in system:  # two draws, of which the last record gets equal ones
            drawn = exchange.body["seed"] if subject(exchange)[-1] != "9" else ""
            exchange.answer(f"At great length, {subject(exchange)} was seen {drawn}")
        elif last != "In few words.":
            exchange.answer("a list of things")
        elif subject(exchange)[-1] == "2":
            exchange.answer("I'm sorry, I can't help with that picture.")
        else:
            exchange.answer(f"In few words only, {subject(exchange)}.")

    server.behaviour = talk
    run("--prompt", str(prompt), "--count", "2", "--temperature", "0.7")
    assert len(server.requests) == 10 * (2 + 2 * 2)
    found = latents(workspace)
    assert len(found) == 10
    weights = {key: [weight for _, weight in each.weighted()] for key, each in found.items()}
    assert weights.pop("r002") == [1.0, 1.0], "the refusals are left out"
    assert weights.pop("r009") == [2.0, 1.0], "equal ones are one"
    assert set(map(tuple, weights.values())) == {(1.0, 1.0, 1.0)}, "both short ones are alike"
    assert "At great length" in found["r000"].text
    asked = len(server.requests)
    run("--prompt", str(prompt), "--count", "2", "--temperature", "0.7")
    assert len(server.requests) == asked


def test_several_descriptions_are_not_asked_for_in_vain(run, server, tmp_path):
    assert "all of them would be alike" in run("--count", "2", code=1).err
    prompt = tmp_path / "prompt.txt"
    prompt.write_text("Describe it.\n=== much\nDescribe it.")
    assert "'much' is no weight" in run("--prompt", str(prompt), code=1).err
    assert not server.requests


def test_prompts_are_divided_by_lines_with_weights():
    text = "=== 3\na\n---\nb\n===\nc\n=== 0.25\n\n=== 0.5\nd"
    assert split_prompts(text) == [
        Prompt(3.0, ("a", "b")),
        Prompt(1.0, ("c",)),
        Prompt(0.5, ("d",)),
    ]
    for wrong in ("=== 0\na", "=== 1.2.3\na", "=== ...\na", "---\n==="):
        with pytest.raises(KaleidoError) as caught:
            split_prompts(wrong)
        assert caught.value.code == "bad-option"


def test_a_prompt_of_several_questions_is_one_chat(run, server, workspace, tmp_path):
    prompt = tmp_path / "prompt.txt"
    prompt.write_text("List what is seen.\n---\nWhich light? {caption}\n ---\nDescribe it.\n")
    (asked,) = split_prompts(prompt.read_text())
    assert len(asked.stages) == 3

    def talk(exchange) -> None:
        turns = exchange.body["messages"]
        assert [turn["role"] for turn in turns][1:] == ["user", "assistant"] * (
            len(turns) // 2 - 1
        ) + ["user"]
        asked = turns[0]["content"] if len(turns) == 2 else turns[-1]["content"]
        if "Describe it." in asked:
            assert [turn["content"] for turn in turns[2::2]] == ["a list", "a light"]
            describe(exchange)
        else:
            exchange.answer("a list" if "List" in asked else "a light")

    server.behaviour = talk
    run("--prompt", str(prompt))
    assert len(texts(workspace)) == 10 and len(server.requests) == 30


def test_the_model_and_what_it_is_sent_are_part_of_the_identity(run, server, workspace):
    run()
    server.behaviour = lambda e: e.answer("Another model writes other words.", model=f"{MODEL}-b")
    run("--model", f"{MODEL}-b")
    assert set(texts(workspace).values()) == {"Another model writes other words."}
    with model_server() as elsewhere:
        run("--model", f"{MODEL}-b", "--server", elsewhere.url)
        assert not elsewhere.requests, "the address is no part of it"


def test_limits_end_the_run_and_a_later_one_goes_on(run, server, workspace):
    assert "--max-requests" in run("--max-requests", "6", code=1).err
    assert len(server.requests) == 6
    run()
    assert len(server.requests) == 10 and len(texts(workspace)) == 10


def test_a_preview_says_where_pictures_go_and_its_answers_are_kept(run, server, workspace):
    assert server.url in run("--preview", "3").err
    assert len(server.requests) == 3 and not workspace.latents("description").exists()
    run()
    assert len(server.requests) == 10


@pytest.mark.parametrize(
    "flags",
    [
        ("--workers", "2", "--max-requests", "5"),
        ("--engine", "ray", "--max-requests", "5"),
        ("--model", ""),
        ("--max-cost", "1"),
        ("--key-variable", "HOME"),
        ("--server", "ftp://host"),
    ],
)
def test_what_cannot_work_is_refused_before_anything_is_sent(run, server, flags):
    run(*flags, code=1)
    assert not server.requests


def test_killed_in_mid_run_no_answered_request_is_asked_again(run, server, workspace, tmp_path):
    def until_six(exchange) -> None:
        if sum(server.answered.values()) >= 6 and not (tmp_path / "go").exists():
            (tmp_path / "reached").touch()
            while not (tmp_path / "go").exists():
                time.sleep(0.02)
            return
        describe(exchange)
        server.count_answer(subject(exchange))

    server.behaviour = until_six
    arguments = ["extract", "descriptions", "--server", server.url, "--model", MODEL]
    place = ["--workspace", str(workspace.root), "--concurrency", "1"]
    process = subprocess.Popen(
        [sys.executable, "-m", "kaleido_cli", *arguments, *place],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    limit = time.monotonic() + 120
    while not (tmp_path / "reached").exists() and time.monotonic() < limit:
        assert process.poll() is None
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    (tmp_path / "go").touch()
    assert sum(server.answered.values()) == 6
    run()
    assert len(texts(workspace)) == 10
    assert set(server.answered.values()) == {1} and len(server.answered) == 10

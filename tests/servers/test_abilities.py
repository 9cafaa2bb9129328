from __future__ import annotations

import dataclasses
import json

import pytest

from pipelines.core.errors import KaleidoError
from pipelines.servers.abilities import THOUGHTS, adapt, disliked
from pipelines.servers.client import Client
from pipelines.servers.exchange import Response
from pipelines.servers.reply import Reply, Unanswered
from tests.servers.model_server import MODEL, model_server
from tests.servers.test_client import FAST, echo, questions

ALL = ("model", "max_tokens", "temperature", "seed", "response_format")


@pytest.fixture
def server():
    with model_server() as running:
        yield running


@pytest.fixture
def client(server, tmp_path):
    return Client(server.url, MODEL, FAST, tmp_path / "answers", backoff=0.01)


def reasons(exchange) -> None:
    """Behave like a server of a model that reasons: one complaint at a time."""
    for name in ("max_tokens", "temperature", "seed"):
        if name in exchange.body:
            error = {"message": f"Unsupported parameter: '{name}'.", "param": name}
            exchange.send(400, json.dumps({"error": error}).encode())
            return
    echo(exchange)


@pytest.mark.parametrize(
    ("status", "error", "sent", "part"),
    [
        (400, {"message": "no", "param": "temperature"}, ALL, "temperature"),
        (400, {"message": "Use 'max_completion_tokens', not 'max_tokens'."}, ALL, "max_tokens"),
        (422, {"message": "extra fields: seed"}, ALL, "seed"),
        (400, {"message": "what?"}, ALL, "response_format"),
        (400, {"message": "what?"}, ALL[:4], None),
        (400, {"message": "model not known", "param": "model"}, ALL[:4], None),
        (400, {"message": "max_tokens is too large"}, ("model", "max_completion_tokens"), None),
        (500, {"message": "temperature"}, ALL, None),
    ],
)
def test_complaints_name_what_to_leave_out(status, error, sent, part):
    assert disliked(Response(status, json.dumps({"error": error}).encode()), sent) == part


def test_the_limit_of_tokens_gets_its_newer_name_and_room_to_think():
    body = {"model": "m", "max_tokens": 50, "temperature": 0.0}
    assert adapt(body, ()) == body
    assert adapt(body, {"max_tokens"}) == {
        "model": "m",
        "temperature": 0.0,
        "max_completion_tokens": 50 + THOUGHTS,
    }


def test_a_server_that_reasons_is_asked_as_it_likes(server, client):
    server.behaviour = reasons
    assert all(isinstance(reply, Reply) for reply in client.ask(questions(1, seed=3)))
    assert len(server.requests) == 4
    assert len({headers["Idempotency-Key"] for headers in server.headers}) == 4
    client.ask(questions(3)[1:])
    assert len(server.requests) == 6, "what it does not take is known by now"
    assert {"max_tokens", "temperature", "seed"}.isdisjoint(server.requests[-1])
    assert "takes no max_tokens, seed, temperature" in client.note()


def test_a_server_that_only_complains_is_left_alone(server, client):
    server.behaviour = lambda e: e.fail(400, f"bad: {', '.join(e.body)}")
    assert isinstance(client.ask(questions(1, schema={"type": "object"}))[0], Unanswered)
    assert len(server.requests) == 5
    server.behaviour = echo
    client.ask(questions(2)[1:])
    assert "temperature" in server.requests[-1]


def test_thoughts_count_in_the_budget(server, tmp_path):
    server.behaviour = reasons
    prices = dataclasses.replace(FAST, max_cost=0.005, price_out=1.0)
    with pytest.raises(KaleidoError) as caught:  # 50 tokens would fit
        Client(server.url, MODEL, prices, tmp_path, backoff=0.01).ask(questions(1))
    assert caught.value.code == "budget"

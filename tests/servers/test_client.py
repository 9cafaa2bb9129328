import dataclasses
import gzip
import json
import threading
import time

import pytest

from pipelines.core.errors import KaleidoError
from pipelines.servers.client import Client
from pipelines.servers.question import Question, Turn, ask_about
from pipelines.servers.reply import Reply, Unanswered
from pipelines.workspace.settings import ServerSettings
from tests.servers.model_server import BOMB, MODEL, completion, model_server

FAST = ServerSettings(
    connect_timeout=2.0, read_timeout=0.5, total_timeout=1.0, retries=2, patience=5.0, concurrency=4
)
SECRET = "sk-0123456789-very-secret"


@pytest.fixture
def server():
    with model_server() as running:
        yield running


@pytest.fixture
def client(server, tmp_path):
    return Client(server.url, MODEL, FAST, tmp_path / "answers", backoff=0.01)


def questions(count: int, **changes) -> list[Question]:
    return [
        Question(ask_about("Describe.", {"caption": f"caption {n}"}), tokens=50, **changes)
        for n in range(count)
    ]


def echo(exchange) -> None:
    exchange.answer(f"about {exchange.text.splitlines()[-1]}")


def test_answers_come_in_order_several_at_once_and_within_the_bound(server, client):
    together = threading.Barrier(4, timeout=5)

    def wait_for_the_others(exchange) -> None:
        together.wait()
        echo(exchange)

    server.behaviour = wait_for_the_others
    client._settings = dataclasses.replace(FAST, read_timeout=5.0, total_timeout=5.0)
    replies = client.ask(questions(16))
    assert [reply.text for reply in replies] == [f'about caption: "caption {n}"' for n in range(16)]
    assert server.most == 4


def test_equal_questions_are_asked_once_and_never_again(server, client, tmp_path):
    server.behaviour = echo
    first = client.ask([*questions(3), *questions(3)])
    assert first[:3] == first[3:] and len(server.requests) == 3
    assert client.ask(questions(3)) == first[:3] and len(server.requests) == 3
    another = Client(server.url, MODEL, FAST, tmp_path / "answers")
    assert another.ask(questions(4))[:3] == first[:3] and len(server.requests) == 4
    assert another.spending.cached == 3 and another.spending.answers == 1


@pytest.mark.parametrize(
    "change",
    [
        {"tokens": 51},
        {"temperature": 0.5},
        {"seed": 1},
        {"schema": {"type": "object"}},
        {"turns": (Turn("user", "other words"),)},
        {"turns": (Turn("user", "", (b"picture",)),)},
        {"turns": (Turn("user", "", (b"another",)),)},
    ],
)
def test_anything_else_makes_another_question(server, client, tmp_path, change):
    (question,) = questions(1)
    client.ask([question, dataclasses.replace(question, **change)])
    assert len(server.requests) == 2
    other = Client(server.url, f"{MODEL}-2", FAST, tmp_path / "answers", backoff=0.0)
    server.behaviour = lambda exchange: exchange.answer("words", model=f"{MODEL}-2")
    other.ask([question])
    assert len(server.requests) == 3, "another model"


def test_a_busy_server_is_asked_again_when_it_wants_to_be(server, client):
    times = []

    def busy(exchange) -> None:
        times.append(time.monotonic())
        if exchange.number == 0:
            return exchange.fail(429, Retry_After="0.2")
        return echo(exchange) if exchange.number > 3 else exchange.fail(429)

    server.behaviour = busy
    client._settings = dataclasses.replace(FAST, retries=0)  # being busy is no failure
    assert all(isinstance(reply, Reply) for reply in client.ask(questions(8)))
    assert len(server.requests) >= 11 and client.spending.waits >= 3
    late = [when for when in times if when > times[0] + 0.1]
    assert min(late) >= times[0] + 0.2, "nobody asks during the pause"


def test_a_server_that_stays_busy_costs_its_question_only(server, client):
    server.behaviour = lambda e: e.fail(429) if "caption 1" in e.text else echo(e)
    client._settings = dataclasses.replace(FAST, patience=0.1)
    replies = client.ask(questions(3))
    assert [type(reply) for reply in replies] == [Reply, Unanswered, Reply]
    assert "429" in replies[1].why


def slow(exchange) -> None:
    time.sleep(1.3)


def drip_headers(exchange) -> None:
    wfile = exchange.handler.wfile
    wfile.write(b"HTTP/1.1 200 OK\r\n")
    for _ in range(200):
        wfile.write(b"x: y\r\n")
        wfile.flush()
        time.sleep(0.05)


def endless(exchange) -> None:
    handler = exchange.handler
    handler.send_response(200)
    handler.send_header("Connection", "close")
    handler.end_headers()
    for _ in range(5000):
        handler.wfile.write(b" " * 10_000)


def cut_off(exchange) -> None:
    body = json.dumps(completion("words")).encode()
    exchange.send(200, body[:-20], Content_Length=str(len(body)))
    exchange.handler.close_connection = True


def short_length(exchange) -> None:
    body = json.dumps(completion("words")).encode()
    exchange.send(200, body, Content_Length="20")
    exchange.handler.close_connection = True


OK = b"HTTP/1.1 200 OK\r\n"


def chunked(size: int | str, end: bytes = b""):
    """Answer in chunks, of which the first says to be of a size."""

    def answer(exchange) -> None:
        body = json.dumps(completion("words")).encode()
        start = OK + b"Transfer-Encoding: chunked\r\n\r\n"
        first = (size if isinstance(size, str) else f"{len(body) + size:x}").encode()
        exchange.handler.wfile.write(start + first + b"\r\n" + body + b"\r\n" + end)
        exchange.handler.close_connection = True

    return answer


def raw(response: bytes):
    """Answer with bytes, and hang up."""

    def answer(exchange) -> None:
        exchange.handler.wfile.write(response)
        exchange.handler.close_connection = True

    return answer


def body(change=lambda text: text):
    """Answer with a changed body."""
    return lambda e: e.send(200, change(json.dumps(completion("words")).encode()))


BAD = {
    "slow": (slow, True),
    "headers without end": (drip_headers, True),
    "body without end": (endless, False),
    "cut off": (cut_off, True),
    "a length that is too short": (short_length, False),
    "hangs up": (lambda e: setattr(e.handler, "close_connection", True), True),
    "not HTTP": (lambda e: e.handler.wfile.write(b"\0\1\2 nonsense\r\n\r\n"), True),
    "500": (lambda e: e.fail(500), True),
    "400": (lambda e: e.fail(400), False),
    "wrong JSON": (lambda e: e.send(200, b"<html>hello</html>"), False),
    "no object": (lambda e: e.send(200, b"[]"), False),
    "deep JSON": (lambda e: e.send(200, b"[" * 100_000), False),
    "no answer": (lambda e: e.send(200, json.dumps({"model": MODEL}).encode()), False),
    "no text": (lambda e: e.answer({"a": 1}), False),
    "another model": (lambda e: e.answer("words", model="cheap-model"), False),
    "a smaller model": (lambda e: e.answer("words", model=f"{MODEL}-mini"), False),
    "no model": (lambda e: e.answer("words", model=None), False),
    "chunks without end": (chunked(0), True),
    "chunks that lie": (chunked(-20, b"0\r\n\r\n"), True),
    "a chunk of any size": (chunked("f" * 40), True),
    "two lengths": (
        raw(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 9\r\n\r\n"),
        True,
    ),
    "a negative length": (raw(OK + b"Content-Length: -2\r\n\r\n{}"), True),
    "a huge header": (raw(OK + b"x: " + b"y" * 200_000 + b"\r\n\r\n"), True),
    "no status": (raw(b"HTTP/1.1 000 OK\r\n\r\n"), True),
    "interim responses": (raw(b"HTTP/1.1 100 Continue\r\n\r\n" * 100), True),
    "nothing": (lambda e: e.send(204, b""), False),
    "two answers": (body(lambda text: text * 2), False),
    "two models": (body(lambda text: text[:-1] + b', "model": "other"}'), False),
    "a stream": (body(lambda text: b"data: " + text + b"\n\ndata: [DONE]\n\n"), False),
    "UTF-16": (body(lambda text: text.decode().encode("utf-16")), False),
    "half a character": (body(lambda text: text.replace(b"words", b"\\ud800")), False),
    "a number without end": (body(lambda text: text.replace(b"100", b"1" * 5000)), False),
    "compressed, unsaid": (body(gzip.compress), False),
    "not compressed, as it says": (lambda e: e.send(200, b"{}", Content_Encoding="gzip"), False),
    "an error with status 200": (lambda e: e.send(200, b'{"error": {"message": "no"}}'), False),
    "gzip bomb": (lambda e: e.send(200, BOMB, Content_Encoding="gzip"), False),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_response_costs_its_question_a_bounded_time_and_no_other(server, client, name):
    behaviour, is_repeated = BAD[name]
    server.behaviour = lambda e: behaviour(e) if "caption 2" in e.text else echo(e)
    start = time.monotonic()
    replies = client.ask(questions(6))
    assert time.monotonic() - start < 10
    assert [n for n, reply in enumerate(replies) if not isinstance(reply, Reply)] == [2]
    assert isinstance(replies[2], Unanswered) and replies[2].why
    tried = sum("caption 2" in json.dumps(body) for body in server.requests)
    assert tried == (1 + FAST.retries if is_repeated else 1)
    server.behaviour = echo
    assert isinstance(client.ask(questions(6))[2], Reply), "a later run may ask again"
    assert len(server.requests) == 5 + tried + 1


@pytest.mark.parametrize("status", [401, 403, 404])
def test_what_concerns_every_question_ends_the_run_at_once(server, client, status):
    server.behaviour = lambda e: e.fail(status, "unknown key or model")
    with pytest.raises(KaleidoError) as caught:
        client.ask(questions(40))
    assert caught.value.code == "server" and "unknown key or model" in caught.value.why
    assert len(server.requests) <= FAST.concurrency


@pytest.mark.parametrize(
    "answer",
    [
        body(lambda text: b"\xef\xbb\xbf" + text),
        body(lambda text: b"\n\n " + text + b"\n"),
        lambda e: e.send(200, json.dumps(completion("words")).encode(), Content_Encoding=""),
        lambda e: e.answer([{"type": "text", "text": "wo"}, {"type": "text", "text": "rds"}]),
    ],
    ids=["byte order mark", "white space", "an empty encoding", "in parts"],
)
def test_an_answer_that_is_odd_but_clear_is_taken(server, client, answer):
    server.behaviour = answer
    (reply,) = client.ask(questions(1))
    assert isinstance(reply, Reply) and reply.text == "words"


def test_an_error_with_status_200_is_told(server, client):
    server.behaviour = lambda e: e.send(200, b'{"error": {"message": "overloaded"}}')
    (found,) = client.ask(questions(1))
    assert found.why == "the server answers with an error: overloaded"


def test_nobody_waits_longer_than_the_patience_for_one_busy_answer(server, client):
    server.behaviour = lambda e: (
        e.fail(429, Retry_After="9999") if "caption 1" in e.text else echo(e)
    )
    client._settings = dataclasses.replace(FAST, patience=0.3, concurrency=1)
    start = time.monotonic()
    replies = client.ask(questions(4))
    assert [type(reply) for reply in replies] == [Reply, Unanswered, Reply, Reply]
    assert time.monotonic() - start < 5


def test_redirects_are_refused(server, client):
    with model_server() as elsewhere:
        server.behaviour = lambda e: e.send(307, b"", Location=elsewhere.url)
        with pytest.raises(KaleidoError) as caught:
            client.ask(questions(2))
        assert caught.value.code == "server" and not elsewhere.requests


def test_a_server_that_is_gone_ends_the_run_and_keeps_what_was_answered(server, client):
    server.behaviour = lambda e: echo(e) if e.number < 5 else e.fail(500)
    with pytest.raises(KaleidoError) as caught:
        client.ask(questions(60))
    assert caught.value.code == "server"
    assert len(server.requests) < 60
    server.behaviour = echo
    before = len(server.requests)
    assert all(isinstance(reply, Reply) for reply in client.ask(questions(60)))
    assert len(server.requests) == before + 55


def test_no_connection_is_an_error_of_the_server(tmp_path):
    with model_server() as server:
        url = server.url
    client = Client(url, MODEL, FAST, tmp_path, backoff=0.0)
    with pytest.raises(KaleidoError) as caught:
        client.ask(questions(20))
    assert caught.value.code == "server" and client.spending.requests == 0


def test_the_number_of_requests_is_bounded_and_what_was_answered_is_kept(server, tmp_path):
    server.behaviour = lambda e: (time.sleep(0.02), echo(e))
    limited = dataclasses.replace(FAST, max_requests=5)
    client = Client(server.url, MODEL, limited, tmp_path, backoff=0.01)
    with pytest.raises(KaleidoError) as caught:
        client.ask(questions(12))
    assert caught.value.code == "budget" and len(server.requests) == 5
    more = Client(server.url, MODEL, FAST, tmp_path)
    assert len(more.ask(questions(12))) == 12 and len(server.requests) == 12


def test_the_cost_stays_below_its_limit(server, tmp_path):
    server.behaviour = echo
    # 100 tokens in and 10 out: 0.0012 a question; the bound on one is larger.
    prices = dataclasses.replace(FAST, price_in=10.0, price_out=20.0, max_cost=0.01)
    client = Client(server.url, MODEL, prices, tmp_path)
    with pytest.raises(KaleidoError) as caught:
        client.ask(questions(20))
    assert caught.value.code == "budget"
    assert 0.006 < client.spending.cost <= 0.01
    assert client.spending.cost == pytest.approx(0.0012 * client.spending.answers)
    assert "cost 0.0" in client.spending.note() and "tokens" in client.spending.note()
    with pytest.raises(KaleidoError) as caught:
        Client(server.url, MODEL, dataclasses.replace(FAST, max_cost=1.0), tmp_path)
    assert caught.value.code == "bad-option"


def test_a_schema_is_asked_for_and_left_out_where_the_server_does_not_know_it(server, client):
    schema = {"type": "object"}
    client.ask(questions(1, schema=schema))
    assert server.requests[0]["response_format"]["json_schema"]["schema"] == schema
    server.behaviour = lambda e: e.fail(400) if "response_format" in e.body else echo(e)
    replies = client.ask(questions(12, schema=schema))
    assert all(isinstance(reply, Reply) for reply in replies)
    client.ask(questions(1, schema=schema, seed=7))
    assert "response_format" not in server.requests[-1], "the server is known by now"


def test_a_bad_question_with_a_schema_does_not_cost_the_others_theirs(server, client):
    schema = {"type": "object"}
    server.behaviour = lambda e: e.fail(400, "too long") if "caption 0" in e.text else echo(e)
    assert isinstance(client.ask(questions(1, schema=schema))[0], Unanswered)
    client.ask(questions(2, schema=schema)[1:])
    assert "response_format" in server.requests[-1]


def test_the_key_is_sent_and_shown_nowhere(server, tmp_path, monkeypatch):
    monkeypatch.setenv("TEST_API_KEY", SECRET)
    settings = dataclasses.replace(FAST, key_variable="TEST_API_KEY")
    client = Client(server.url, MODEL, settings, tmp_path / "answers", backoff=0.01)
    client.ask(questions(1))
    assert server.headers[0]["Authorization"] == f"Bearer {SECRET}"
    server.behaviour = lambda e: e.fail(400, f"bad key {SECRET}?")
    (failed,) = client.ask(questions(2)[1:])
    assert "bad key" in failed.why and SECRET not in failed.why
    server.behaviour = lambda e: e.fail(401, f"bad key {SECRET}!")
    with pytest.raises(KaleidoError) as caught:
        client.ask(questions(3)[2:])
    assert SECRET not in str(caught.value)
    files = [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()]
    assert files and not any(SECRET.encode() in data for data in files)


def test_no_proxy_and_no_netrc_is_used(server, client, monkeypatch, tmp_path):
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:9")
    (tmp_path / "netrc").write_text(f"machine 127.0.0.1 login me password {SECRET}")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    assert isinstance(client.ask(questions(1))[0], Reply)
    assert "Authorization" not in server.headers[0]


def test_it_can_be_asked_inside_an_event_loop(server, client):
    import asyncio

    async def notebook() -> list[Reply | Unanswered]:
        return client.ask(questions(2))

    assert len(asyncio.run(notebook())) == 2

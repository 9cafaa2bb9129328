"""A server of language models on the loopback that behaves as a test tells it, badly too."""

from __future__ import annotations

import gzip
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

MODEL = "tiny-model"

Behaviour = Callable[["Exchange"], None]
"""Answers one request."""


class Exchange:
    """One request, and the ways to answer it."""

    def __init__(self, handler: BaseHTTPRequestHandler, body: dict[str, Any], number: int) -> None:
        self.handler, self.body, self.number = handler, body, number

    @property
    def text(self) -> str:
        """All texts of the chat."""
        contents = [message["content"] for message in self.body["messages"]]
        parts = [part for c in contents if isinstance(c, list) for part in c]
        texts = [c for c in contents if isinstance(c, str)]
        return "\n".join([*texts, *(part["text"] for part in parts if part["type"] == "text")])

    def send(self, status: int, body: bytes, **headers: str) -> None:
        """Send a whole response."""
        handler = self.handler
        handler.send_response(status)
        sent = {"Content-Length": str(len(body)), "Content-Type": "application/json"}
        for name, value in {**sent, **{k.replace("_", "-"): v for k, v in headers.items()}}.items():
            handler.send_header(name, value)
        handler.end_headers()
        handler.wfile.write(body)

    def answer(self, text: str, **changes: Any) -> None:
        """Send an answer, as the protocol has it."""
        self.send(200, json.dumps(completion(text) | changes).encode())

    def fail(self, status: int, message: str = "no", **headers: str) -> None:
        """Send an error."""
        self.send(status, json.dumps({"error": {"message": message}}).encode(), **headers)


def completion(text: str, finish: str = "stop") -> dict[str, Any]:
    """Return the body of a response."""
    return {
        "model": MODEL,
        "choices": [{"message": {"role": "assistant", "content": text}, "finish_reason": finish}],
        "usage": {"prompt_tokens": 100, "completion_tokens": 10},
    }


class ModelServer:
    """What a test sees of the server.

    Attributes:
        url: Its address.
        behaviour: Answers every request.
        requests: The bodies that came, and `headers` likewise.
        answered: How often each text was answered with status 200.
        most: The most requests that were under way at once.
    """

    def __init__(self) -> None:
        self.url = ""
        self.behaviour: Behaviour = lambda exchange: exchange.answer("a plain answer of some words")
        self.requests: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.answered: dict[str, int] = {}
        self.most = self._now = 0
        self._lock = threading.Lock()

    def handle(self, handler: BaseHTTPRequestHandler) -> None:
        """Let the behaviour answer a request."""
        body = json.loads(handler.rfile.read(int(handler.headers["Content-Length"])))
        with self._lock:
            self._now += 1
            self.most = max(self.most, self._now)
            number = len(self.requests)
            self.requests.append(body)
            self.headers.append(dict(handler.headers.items()))
        try:
            self.behaviour(Exchange(handler, body, number))
        except (BrokenPipeError, ConnectionResetError):
            handler.close_connection = True  # the client has had enough
        finally:
            with self._lock:
                self._now -= 1

    def count_answer(self, text: str) -> None:
        """Count an answer that was sent."""
        with self._lock:
            self.answered[text] = self.answered.get(text, 0) + 1


@contextmanager
def model_server() -> Iterator[ModelServer]:
    """Run a server until the block ends."""
    state = ModelServer()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:  # noqa: N802 - the name is http.server's
            state.handle(self)

        def log_message(self, *args: Any) -> None:
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        request_queue_size = 64

        def handle_error(self, request: Any, client_address: Any) -> None:
            pass  # clients that go away are what is tested

    server = Server(("127.0.0.1", 0), Handler)
    state.url = f"http://127.0.0.1:{server.server_port}/v1"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield state
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


BOMB = gzip.compress(b" " * 2**24, 1)
"""16 MB of white space in a few kilobytes."""

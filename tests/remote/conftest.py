"""A real S3 server on the loopback that can refuse requests."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest


class Faulty:
    """A WSGI application that answers every n-th request with an error.

    Attributes:
        every: n; 0 never refuses.
        slow: Every so many requests one is answered late; 0 for none.
        cut: Every so many downloads one has half of its bytes: now as a connection that breaks,
            now with a length that lies; 0 for none.
        page: Whether every request is answered with a page of a proxy that wants a login.
        puts: Path -> uploads that were accepted.
        refused: Number of refused requests.
        gate: Called before each upload, in the server's thread.
    """

    def __init__(self, app: Any) -> None:
        self._app, self.every, self.slow, self.cut, self.refused = app, 0, 0, 0, 0
        self.page = False
        self.downloads = 0
        self.puts = Counter[str]()
        self.gate: Callable[[], None] = lambda: None
        self._count, self._lock = 0, threading.Lock()

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Any:
        with self._lock:
            self._count += 1
            refuse = self.every and self._count % self.every == 0
            self.refused += bool(refuse)
            late = self.slow and self._count % self.slow == 0
        if late:
            time.sleep(0.2)
        if refuse:
            environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
            start_response("503 Slow Down", [("Content-Type", "text/plain")])
            return [b"slow down"]
        if self.page:
            environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
            page = b"<html>Please log in.</html>"
            start_response("200 OK", [("Content-Length", str(len(page)))])
            return [page] if environ["REQUEST_METHOD"] != "HEAD" else []
        if environ["REQUEST_METHOD"] == "GET" and not environ["QUERY_STRING"]:
            return self._download(environ, start_response)
        if environ["REQUEST_METHOD"] == "PUT":
            self.gate()

        def start(status: str, *rest: Any) -> Any:
            if environ["REQUEST_METHOD"] == "PUT" and status.startswith("200"):
                with self._lock:
                    self.puts[environ["PATH_INFO"]] += 1
            return start_response(status, *rest)

        return self._app(environ, start)

    def _download(self, environ: dict[str, Any], start_response: Any) -> Any:
        answered: list[Any] = []
        body = b"".join(self._app(environ, lambda *given: answered.extend(given)))
        status, headers = answered[:2]
        with self._lock:
            self.downloads += 1
            number = self.downloads if self.cut else 0
        if number and number % self.cut == 0 and status.startswith("20"):
            names = {"x-amz-checksum-crc32", "x-amz-checksum-type"}  # other stores send none
            headers = [each for each in headers if each[0].lower() not in names]
            half = body[: len(body) // 2]
            if number // self.cut % 2:
                headers = [each for each in headers if each[0].lower() != "content-length"]
                headers.append(("Content-Length", str(len(half))))
            body = half
        start_response(status, headers)
        return [body]


@pytest.fixture(scope="session")
def server() -> Iterator[tuple[Faulty, str]]:
    """Start the server; yield it and its address."""
    pytest.importorskip("moto.server")
    from moto.server import DomainDispatcherApplication, create_backend_app
    from werkzeug.serving import WSGIRequestHandler, make_server

    class Silent(WSGIRequestHandler):
        def log(self, *args: Any) -> None: ...

    app = Faulty(DomainDispatcherApplication(create_backend_app))
    http = make_server("127.0.0.1", 0, app, threaded=True, request_handler=Silent)
    thread = threading.Thread(target=http.serve_forever, daemon=True)
    thread.start()
    yield app, f"http://127.0.0.1:{http.server_port}"
    http.shutdown()
    thread.join()
    http.server_close()


@pytest.fixture
def faulty(server, monkeypatch) -> Faulty:
    """Return the server with nothing stored, and let S3 clients find it."""
    import s3fs

    app, address = server
    app.every, app.slow, app.cut, app.refused, app.gate = 0, 0, 0, 0, lambda: None
    app.page, app.downloads = False, 0
    names = {"AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "x", "AWS_ENDPOINT_URL": address}
    for name, value in (names | {"AWS_DEFAULT_REGION": "us-east-1"}).items():
        monkeypatch.setenv(name, value)
    files = s3fs.S3FileSystem(skip_instance_cache=True)
    if files.exists("birds"):
        files.rm("birds", recursive=True)
    files.mkdir("birds")
    app.puts.clear()
    return app

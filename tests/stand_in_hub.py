"""A stand-in for the Hugging Face hub, with one repository in memory, on the loopback."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

TOKEN = "hf_standin0secret"


class Hub:
    """What the repository holds and what was asked of it; `me/NAME` is its name."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.created: list[dict] = []
        self.commits: list[list[dict]] = []
        self.tokens: set[str | None] = set()
        self.fails = 0


class _Handler(BaseHTTPRequestHandler):
    hub: Hub

    def log_message(self, *arguments) -> None: ...

    def do_GET(self) -> None:
        if "/revision/" in self.path:
            found = [{"rfilename": path} for path in self.hub.files]
            return self._answer(200, {"id": self._name, "sha": "1" * 40, "siblings": found})
        if "/tree/" in self.path:
            files = [
                {"type": "file", "path": path, "size": len(data), "oid": "0" * 40}
                for path, data in self.hub.files.items()
            ]
            return self._answer(200, files)
        if "/resolve/" in self.path:
            name = self.path.split("/resolve/")[1].split("/", 1)[1]
            return self._answer(200, self.hub.files[name])
        return self._answer(404, {"error": self.path})

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_POST(self) -> None:
        self.hub.tokens.add(self.headers.get("Authorization"))
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.path == "/api/repos/create":
            self.hub.created.append(json.loads(body))
            name = f"me/{self.hub.created[-1]['name']}"
            return self._answer(200, {"url": f"{self._here}/{name}", "name": name})
        if self.path == "/api/validate-yaml":
            return self._answer(200, {"errors": [], "warnings": []})
        if "/preupload/" in self.path:
            paths = [each["path"] for each in json.loads(body)["files"]]
            plain = {"uploadMode": "regular", "shouldIgnore": False}
            return self._answer(200, {"files": [{"path": path} | plain for path in paths]})
        if self.hub.fails:
            self.hub.fails -= 1
            return self._answer(403, {"error": f"{TOKEN} may not write"})
        return self._commit([json.loads(line) for line in body.splitlines()])

    def _commit(self, lines: list[dict]) -> None:
        self.hub.commits.append(lines)
        for line in lines:
            value = line["value"]
            if line["key"] == "file":
                self.hub.files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "deletedFile":
                del self.hub.files[value["path"]]
        self._answer(
            200,
            {"commitUrl": f"{self._here}/{self._name}/commit/{'1' * 40}", "commitOid": "1" * 40}
            | {"hookOutput": "", "pullRequestUrl": None},
        )

    @property
    def _name(self) -> str:
        return f"me/{self.path.split('/me/')[1].split('/')[0]}"

    @property
    def _here(self) -> str:
        return f"http://127.0.0.1:{self.server.server_address[1]}"

    def _answer(self, status: int, value) -> None:
        data = value if isinstance(value, bytes) else json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.send_header("Content-Type", "application/json")
        self.send_header("X-Repo-Commit", "1" * 40)
        self.send_header("ETag", f'"{abs(hash(data))}"')
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)


@contextmanager
def serving() -> Iterator[tuple[Hub, str]]:
    """Serve an empty repository; yield it and the server's address."""
    found = Hub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"hub": found}))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield found, f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()

"""Images at addresses: a server that misbehaves, addresses that must not be asked, and tables."""

from __future__ import annotations

import hashlib
import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from typing import Any

import pytest

from pipelines.core.errors import BadRecord, KaleidoError
from pipelines.core.images import encode_png
from pipelines.data import guarded
from pipelines.data import web as module
from pipelines.data.guarded import is_public
from pipelines.data.web import Web, WebFile
from pipelines.workspace.shards import read_records


class Site:
    """A web server on the loopback.

    Attributes:
        files: Path -> bytes.
        before: Called with handler and number of the request; may answer it, and then returns True.
        asked: How often each path was asked for.
    """

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.before: Callable[[BaseHTTPRequestHandler, int], bool] = lambda handler, number: False
        self.asked: Counter[str] = Counter()
        self.url = ""

    def handle(self, handler: BaseHTTPRequestHandler) -> None:
        self.asked[handler.path] += 1
        if self.before(handler, self.asked.total()):
            return
        data = self.files.get(handler.path)
        send(handler, 404 if data is None else 200, data or b"")


def send(handler: BaseHTTPRequestHandler, status: int, body: bytes = b"", **headers: str) -> None:
    handler.send_response(status)
    for name, value in {"Content_Length": str(len(body)), **headers}.items():
        handler.send_header(name.replace("_", "-"), value)
    handler.end_headers()
    handler.wfile.write(body)


@pytest.fixture
def site() -> Iterator[Site]:
    state = Site()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:  # noqa: N802 - the name is http.server's
            state.handle(self)

        def log_message(self, *args: Any) -> None: ...

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *args: Any) -> None: ...

    server = Server(("127.0.0.1", 0), Handler)
    state.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    yield state
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def web() -> Iterator[Web]:
    client = Web(private=True, backoff=0.01)
    yield client
    client.close()


def why(web: Web, address: str, digest: str = "") -> str:
    with pytest.raises(BadRecord) as caught:
        web.fetch(WebFile(address, digest))
    return caught.value.why


def test_a_file_is_fetched_in_spite_of_faults(site, web) -> None:
    site.files["/a%20star.png"] = b"content"

    def faulty(handler, number) -> bool:
        match number:
            case 1:
                send(handler, 503, Retry_After="0")
            case 2:
                handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 90\r\n\r\ncut")
                handler.close_connection = True
            case 3:
                handler.close_connection = True
            case _:
                return False
        return True

    site.before = faulty
    assert web.fetch(WebFile(f" {site.url}/a star.png#top")) == b"content"
    assert site.asked == {"/a%20star.png": 4}


def test_redirects_are_followed_a_few_times(site, web) -> None:
    site.files["/end"] = b"content"

    def redirect(handler, number) -> bool:
        if handler.path == "/end":
            return False
        step = int(handler.path.strip("/"))
        send(handler, 302, Location="/end" if step == 3 else f"{site.url}/{step + 1}")
        return True

    site.before = redirect
    assert web.fetch(WebFile(f"{site.url}/0")) == b"content"
    assert "redirects more than" in why(web, f"{site.url}/9")
    site.before = lambda handler, number: send(handler, 302, Location="file:///etc/passwd") or True
    assert "only http://" in why(web, f"{site.url}/0")


def test_a_failure_is_told_and_not_repeated_in_vain(site, web, monkeypatch) -> None:
    assert "status 404" in why(web, f"{site.url}/nothing")
    assert site.asked["/nothing"] == 1
    monkeypatch.setattr(module, "MAX_BYTES", 10)
    site.files["/large"] = b"x" * 11
    assert "over 10 bytes" in why(web, f"{site.url}/large")
    site.before = lambda handler, number: send(handler, 500) or True
    assert "status 500" in why(web, f"{site.url}/broken")
    assert site.asked["/broken"] == module.ATTEMPTS


def test_a_slow_or_endless_server_is_given_up(site, web, monkeypatch) -> None:
    monkeypatch.setattr(module, "SILENCE", 0.1)
    monkeypatch.setattr(module, "ATTEMPTS", 2)

    def silent(handler, number) -> bool:
        time.sleep(0.4)
        return True

    site.before = silent
    assert "cannot be fetched" in why(web, f"{site.url}/silent")
    monkeypatch.setattr(module, "TOTAL", 0.3)

    def trickle(handler, number) -> bool:
        handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 9000\r\n\r\n")
        for _ in range(100):
            handler.wfile.write(b"x")
            time.sleep(0.02)
        return True

    site.before = trickle
    assert "seconds" in why(web, f"{site.url}/trickle")

    def headers(handler, number) -> bool:
        handler.wfile.write(b"HTTP/1.1 200 OK\r\n")
        for _ in range(100):
            handler.wfile.write(b"x: y\r\n")
            time.sleep(0.02)
        return True

    site.before = headers
    assert "seconds" in why(web, f"{site.url}/headers")


def test_what_a_server_says_falsely_costs_its_row_alone(site, web, monkeypatch) -> None:
    monkeypatch.setattr(module, "ATTEMPTS", 2)
    monkeypatch.setattr(module, "MAX_WAIT", 0.01)
    later = "Fri, 31 Dec 9999 23:59:59 GMT"
    for response in (
        b"200 OK\r\nTransfer-Encoding: chunked\r\n\r\n7\r\ncontent\r\n",
        b"200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\ncontent\r\n0\r\n\r\n",
        b"200 OK\r\nContent-Length: 2\r\nContent-Length: 9\r\n\r\nab",
        b"200 OK\r\nContent-Length: -1\r\n\r\nab",
        b"200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 2\r\n\r\nab",
        b"206 Partial Content\r\nContent-Length: 2\r\n\r\nab",
        b"302 Found\r\nContent-Length: 0\r\nLocation: /loop\r\n\r\n",
        b"302 Found\r\nContent-Length: 0\r\nLocation: \r\n\r\n",
        b"302 Found\r\nContent-Length: 0\r\nLocation: //[::1\r\n\r\n",
        f"503 Busy\r\nContent-Length: 0\r\nRetry-After: {later}\r\n\r\n".encode(),
        b"503 Busy\r\nContent-Length: 0\r\nRetry-After: " + b"9" * 5000 + b"\r\n\r\n",
        b"200 OK\r\nx: " + b"y" * 200_000 + b"\r\n\r\n",
    ):

        def answer(handler, number, response=response) -> bool:
            handler.wfile.write(b"HTTP/1.1 " + response)
            handler.close_connection = True
            return True

        site.before = answer
        assert why(web, f"{site.url}/loop"), response
    site.before = lambda handler, number: False
    site.files["/a"] = b"content"
    assert web.fetch(WebFile(f"{site.url}/a")) == b"content"


@pytest.mark.parametrize("name", ["md5", "sha1", "sha256"])
def test_digests_are_checked(site, web, name) -> None:
    site.files["/a"] = b"content"
    right = hashlib.new(name, b"content").hexdigest()
    assert web.fetch(WebFile(f"{site.url}/a", right.upper())) == b"content"
    assert "not those of the digest" in why(web, f"{site.url}/a", right[::-1])
    assert "no MD5" in why(web, f"{site.url}/a", "12")


@pytest.mark.parametrize(
    "address",
    [
        *("ftp://example.org/a", "file:///etc/passwd", "github://o:r@/a", "://", "http://"),
        *("simplecache::http://a/b", "http://[::1", "http://a:99999/", "data:image/png;base64,x"),
    ],
)
def test_other_addresses_are_refused(web, address) -> None:
    assert why(web, address)


def test_a_password_in_an_address_is_not_shown(web) -> None:
    with pytest.raises(BadRecord) as caught:
        web.fetch(WebFile("https://me:secret@example.org/a"))
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "[::1]", "2130706433", "0"])
def test_this_machine_is_not_asked_unless_that_is_wanted(site, host) -> None:
    site.files["/a"] = b"content"
    port = site.url.rpartition(":")[2]
    strict = Web()
    assert "private" in why(strict, f"http://{host}:{port}/a")
    strict.close()
    assert not site.asked


def test_what_was_checked_is_what_is_asked(site, monkeypatch) -> None:
    """A name may have another address at each look-up."""
    found = iter([["93.184.216.34"], ["127.0.0.1"]])
    asked = []
    monkeypatch.setattr(guarded, "resolve", lambda host, port: next(found))

    def connect(self, host, *rest):
        import httpcore

        asked.append(host)
        raise httpcore.ConnectError("no network here")

    monkeypatch.setattr("httpcore.SyncBackend.connect_tcp", connect)
    client = Web(backoff=0.0)
    assert "private" in why(client, "http://rebinding.example/a")
    assert asked == ["93.184.216.34"]


@pytest.mark.parametrize(
    ("address", "public"),
    [
        *[("8.8.8.8", True), ("2606:4700::1111", True), ("64:ff9b::808:808", True)],
        *[("127.0.0.1", False), ("10.1.2.3", False), ("169.254.169.254", False)],
        *[("0.0.0.0", False), ("224.0.0.1", False), ("100.64.0.1", False), ("::1", False)],
        *[("fe80::1", False), ("fc00::1", False), ("::ffff:10.0.0.1", False)],
        *[("64:ff9b::a00:1", False), ("2002:a00:1::", False)],
    ],
)
def test_which_addresses_are_public(address, public) -> None:
    assert is_public(ip_address(address)) == public


def test_a_dead_network_ends_the_run(monkeypatch) -> None:
    monkeypatch.setattr(module, "GIVES_UP", 3)
    monkeypatch.setattr(guarded, "resolve", lambda host, port: (_ for _ in ()).throw(OSError("no")))
    client = Web(backoff=0.0)
    assert "cannot be fetched" in why(client, "http://a.example/")
    assert "cannot be fetched" in why(client, "http://b.example/")
    with pytest.raises(KaleidoError) as caught:
        client.fetch(WebFile("http://c.example/"))
    assert caught.value.code == "store"


def table(path, rows: list[dict[str, Any]]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def test_a_table_of_addresses_gives_the_records_of_one_of_files(
    invoke, workspace, site, tmp_path, records
) -> None:
    """With 1 in 20 requests refused, and slow ones; a row that is lost is accounted for."""
    rows = []
    for number in range(40):
        data = encode_png(records[number % 10].pixels) + b"\0" * number  # all differ
        site.files[f"/{number}.png"] = data
        (tmp_path / f"{number}.png").write_bytes(data)
        digest = hashlib.md5(data).hexdigest()
        rows.append({"image": f"{number}.png", "caption": f"caption {number}", "md5": digest})

    def faulty(handler, number) -> bool:
        if number % 20 == 0:
            send(handler, 503)
            return True
        if number % 10 == 3:
            time.sleep(0.05)
        return False

    site.before = faulty
    asked = [{**row, "image": f"{site.url}/{row['image']}"} for row in rows]
    asked[7]["image"] = f"{site.url}/gone.png"
    asked[8]["md5"] = "0" * 32
    here = table(tmp_path / "here.jsonl", rows)
    there = table(tmp_path / "there.jsonl", asked)
    place = ("--workspace", str(workspace.root), "--overwrite", "--set", "data.shard_size=16")
    invoke("data", "table", here, *place)
    expected = pictures(workspace)
    flags = ("--fetch", "--private-addresses", "--digest-column", "md5")
    said = invoke("data", "table", there, *place, *flags, "--json")
    assert json.loads(said.out)["failed"] == 2
    reasons = dict(json.loads(said.out)["failures"])
    assert "404" in reasons["row-00000007"] and "digest" in reasons["row-00000008"]
    del expected["row-00000007"], expected["row-00000008"]
    assert pictures(workspace) == expected
    before = site.asked.total()
    invoke("data", "table", there, *place, *flags)
    assert site.asked.total() == before, "shards that are there are not fetched again"


def test_only_failed_addresses_are_asked_again(invoke, workspace, site, tmp_path, records) -> None:
    names = [f"/{number}.png" for number in range(10)]
    content = {name: encode_png(record.pixels) for name, record in zip(names, records, strict=True)}
    site.files = {name: data for name, data in content.items() if name not in names[3:5]}
    rows = [{"image": f"{site.url}{name}", "caption": f"caption {name}"} for name in names]
    path = table(tmp_path / "a.jsonl", rows)
    place = ("--workspace", str(workspace.root), "--set", "data.shard_size=5", "--json")
    asking = ("data", "table", path, *place, "--fetch", "--private-addresses")
    assert json.loads(invoke(*asking).out)["failed"] == 2
    sound = pictures(workspace)
    (second,) = (shard.read_bytes() for shard in workspace.data_shards()[1:])

    site.files = {names[3]: content[names[3]]}  # one is there now, and the sound ones are gone
    site.asked.clear()
    found = json.loads(invoke(*asking, "--retry-failed").out)
    assert (found["ok"], found["failed"], found["skipped"]) == (9, 1, 1)
    assert site.asked == {names[3]: 1, names[4]: 1}
    assert sound.items() <= pictures(workspace).items()
    assert workspace.data_shards()[1].read_bytes() == second

    site.files = content
    found = json.loads(invoke(*asking, "--retry-failed").out)
    assert (found["ok"], found["failed"]) == (10, 0)
    retried = [shard.read_bytes() for shard in workspace.data_shards()]
    site.asked.clear()
    assert json.loads(invoke(*asking, "--retry-failed").out)["skipped"] == 2 and not site.asked
    for file in workspace.data.iterdir():
        file.unlink()
    invoke(*asking)
    assert [shard.read_bytes() for shard in workspace.data_shards()] == retried


def pictures(workspace) -> dict[str, tuple[bytes, str]]:
    records = (record for shard in workspace.data_shards() for record in read_records(shard))
    return {record.key: (record.image, record.caption) for record in records}


def test_flags_of_fetching_need_it(invoke, workspace, tmp_path) -> None:
    path = table(tmp_path / "a.jsonl", [{"image": "http://localhost/a.png", "caption": "a"}])
    place = ("--workspace", str(workspace.root))
    said = invoke("data", "table", path, *place, "--private-addresses", code=2)
    assert "need --fetch" in said.err
    assert "with --fetch only" in invoke("data", "table", path, *place, code=3).err
    said = invoke("data", "table", path, *place, "--fetch", "--overwrite", code=3)
    assert "--private-addresses asks it" in said.err

from __future__ import annotations

import io
import shutil
import tarfile
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Event, Thread

import pytest

from pipelines.core.errors import InputMissing, KaleidoError
from pipelines.core.images import encode_png
from pipelines.core.store import Store
from pipelines.core.temporary import process_folder
from pipelines.data import webdataset as module
from pipelines.data.remote_tars import expand, list_remote
from pipelines.data.webdataset import write_webdataset
from pipelines.workspace.workspace import Workspace


@pytest.fixture
def tars(tmp_path, records):
    """Return a folder with three tars of three rows each."""
    folder = tmp_path / "tars"
    folder.mkdir()
    for number in range(3):
        with tarfile.open(folder / f"{number:05d}.tar", "w") as tar:
            for record in records[3 * number : 3 * number + 3]:
                fields = {"png": encode_png(record.pixels), "txt": record.caption.encode()}
                for extension, data in fields.items():
                    info = tarfile.TarInfo(f"{record.key}.{extension}")
                    info.size = len(data)
                    tar.addfile(info, io.BytesIO(data))
    return folder


def shards(workspace: Workspace) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in workspace.data.glob("*.tar")}


@pytest.mark.parametrize("form", ["{folder}", "{folder}/{{00000..00002}}.tar"])
def test_an_address_gives_the_records_of_a_folder(tmp_path, workspace, tars, form):
    here = Workspace.init(tmp_path / "here")
    write_webdataset(here, tars)
    address = "file://" + form.format(folder=tars)
    assert write_webdataset(workspace, address).ok == 9
    assert shards(workspace) == shards(here)
    assert not list((process_folder() / "tars").iterdir())


def test_an_error_in_a_tar_names_its_address(workspace, tars):
    (tars / "00001.tar").write_bytes(b"<html>Please log in.</html>")
    with pytest.raises(KaleidoError) as caught:
        write_webdataset(workspace, f"file://{tars}/00001.tar")
    assert (caught.value.code, caught.value.what) == ("bad-data", f"file://{tars}/00001.tar")


def test_what_has_not_changed_is_not_fetched(workspace, tars, monkeypatch):
    address = f"file://{tars}"
    write_webdataset(workspace, address)
    shutil.copy(tars / "00000.tar", tars / "00001.tar")
    fetched = []
    fetch = Store.fetch
    monkeypatch.setattr(Store, "fetch", lambda self, *a: (fetched.append(a[0]), fetch(self, *a)))
    assert write_webdataset(workspace, address, overwrite=True).skipped == 2
    assert fetched == ["00001.tar"]


def test_the_next_tar_is_fetched_while_one_is_read(workspace, tars, monkeypatch):
    """The second one arrives before the first row of the first one is written, and no third."""
    fetch, convert = Store.fetch, module._converted
    fetched, seen, second = [], [], Event()

    def noting(self, name, path, size):
        fetch(self, name, path, size)
        fetched.append(name)
        if len(fetched) == 2:
            second.set()

    def converting(pool, shard, *rest):
        assert second.wait(20)
        seen.append((shard.name, len(list((process_folder() / "tars").rglob("*.tar")))))
        yield from convert(pool, shard, *rest)

    monkeypatch.setattr(Store, "fetch", noting)
    monkeypatch.setattr(module, "_converted", converting)
    assert write_webdataset(workspace, f"file://{tars}").ok == 9
    names = [f"{number:05d}.tar" for number in range(3)]
    assert [name for name, _ in seen] == sorted(fetched) == names
    assert all(count <= 2 for _, count in seen)
    assert not list((process_folder() / "tars").iterdir())


def test_a_tar_that_cannot_be_fetched_ends_the_run_in_its_turn(workspace, tars, monkeypatch):
    fetch = Store.fetch

    def failing(self, name, path, size):
        if name == "00001.tar":
            raise KaleidoError(name, "the store refused.", code="store")
        fetch(self, name, path, size)

    monkeypatch.setattr(Store, "fetch", failing)
    with pytest.raises(KaleidoError) as error:
        write_webdataset(workspace, f"file://{tars}")
    assert error.value.code == "store"
    assert len(workspace.data_shards()) == 1
    monkeypatch.setattr(Store, "fetch", fetch)
    assert write_webdataset(workspace, f"file://{tars}").skipped == 1


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("a/{08..10}.tar", ["a/08.tar", "a/09.tar", "a/10.tar"]),
        ("{0..1}/{1..2}.tar", ["0/1.tar", "0/2.tar", "1/1.tar", "1/2.tar"]),
        ("a/{x..y}.tar", ["a/{x..y}.tar"]),
        ("plain.tar", ["plain.tar"]),
    ],
)
def test_ranges_are_written_out(pattern, names):
    assert expand(pattern) == names


@pytest.mark.parametrize("pattern", ["{5..4}.tar", "{0..999999999}.tar", "{0..9999}{0..9999}.tar"])
def test_a_range_is_bounded(pattern):
    with pytest.raises(KaleidoError) as error:
        expand(pattern)
    assert error.value.code == "bad-option"


def test_a_tar_that_is_missing_is_named(tars):
    with pytest.raises(InputMissing) as error:
        list_remote(f"file://{tars}/{{00000..00003}}.tar")
    assert error.value.what.endswith("00003.tar")


def test_a_folder_without_tars(tmp_path, workspace):
    with pytest.raises(KaleidoError) as error:
        write_webdataset(workspace, f"file://{tmp_path}/nothing")
    assert error.value.code == "bad-data"


def test_a_password_in_an_address_is_not_repeated(workspace):
    with pytest.raises(KaleidoError) as error:
        write_webdataset(workspace, "https://me:secret@example.org/0.tar")
    assert error.value.code == "bad-option"
    assert "secret" not in str(error.value)


@pytest.mark.parametrize(("status", "code"), [(404, "input-missing"), (403, "store"), (0, "store")])
def test_only_what_a_server_calls_missing_is_missing(monkeypatch, status, code):
    """A refused connection and a forbidden file are no missing file; repeating mends neither."""
    monkeypatch.setattr("pipelines.core.store.ATTEMPTS", 2)
    monkeypatch.setattr("pipelines.core.store.BACKOFF", 0.01)

    class Answering(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_error(status)

        def do_HEAD(self):
            self.send_error(status)

        def log_message(self, *words): ...

    with HTTPServer(("127.0.0.1", 0), Answering) as server:
        address = f"http://127.0.0.1:{server.server_port}/0.tar"
        if status:
            Thread(target=server.serve_forever, daemon=True).start()
        else:
            server.server_close()
        with pytest.raises(KaleidoError) as error:
            list_remote(address)
        if status:
            server.shutdown()
    assert error.value.code == code

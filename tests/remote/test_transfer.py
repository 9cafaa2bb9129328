"""`kaleido push` and `pull` against an S3 server."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from pipelines.core.errors import InputMissing, KaleidoError
from pipelines.core.files import replacing_folder
from pipelines.core.store import Store
from pipelines.extract.run import extract
from pipelines.remote.pull import open_or_make, pull
from pipelines.remote.push import push
from pipelines.workspace.parts import Part
from pipelines.workspace.workspace import Workspace

URL = "s3://birds/w"


@pytest.fixture
def filled(workspace, write_data, records) -> Workspace:
    """Return a workspace with shards, latents, a model and samples."""
    write_data(records, 2)
    extract(workspace, ["palette"])
    with replacing_folder(workspace.models("prior")) as folder:
        (folder / "model.safetensors").write_bytes(os.urandom(300_000))
        (folder / "kaleido.json").write_text("{}")
    samples = workspace.samples("a-star")
    samples.mkdir(parents=True)
    (samples / "samples.jsonl").write_text("{}\n")
    (workspace.models("prior") / "notes.txt").write_text("mine")
    return workspace


def files(root: Path) -> dict[str, bytes]:
    own = ("data", "latents", "models", "samples", "kaleido.toml")
    return {
        str(path.relative_to(root)): path.read_bytes()
        for name in own
        for path in [root / name, *(root / name).rglob("*")]
        if path.is_file() and path.name not in ("notes.txt", ".kaleido-files.json")
    }


def pulled(path: Path, **options) -> Workspace:
    workspace = open_or_make(path, URL)
    pull(workspace, URL, **options)
    return workspace


def test_a_workspace_comes_back_byte_for_byte(faulty, filled, tmp_path):
    sent = push(filled, URL)
    assert (sent.sent, sent.equal, sent.extra) == (12, 0, 0)
    there = pulled(tmp_path / "there")
    assert files(there.root) == files(filled.root)
    assert not (there.models("prior") / "notes.txt").exists()  # a user's file stays at home
    again = push(filled, URL)
    assert (again.sent, again.equal, again.bytes) == (0, 12, 0)
    summary = pull(there, URL)
    assert (summary.fetched, summary.equal, summary.bytes) == (0, 12, 0)
    assert not list(there.root.rglob("*.kaleido-tmp-*"))


def test_only_what_differs_travels(faulty, filled, tmp_path):
    push(filled, URL)
    there = pulled(tmp_path / "there")
    faulty.puts.clear()
    options = replace(filled.settings.extract, palette_colours=3)
    extract(replace(filled, settings=replace(filled.settings, extract=options)), ["palette"])
    with replacing_folder(filled.models("prior")) as folder:
        (folder / "model.safetensors").write_bytes(
            (filled.models("prior") / "model.safetensors").read_bytes()
        )
        (folder / "kaleido.json").write_text('{"changed": 1}')
    assert push(filled, URL).sent == 6  # five shards of the palette and the model
    assert {Path(name).suffix for name in faulty.puts if "/data/" in name} == set()
    assert not [name for name in faulty.puts if name.endswith("model.safetensors")]
    assert pull(there, URL).fetched == 6
    assert files(there.root) == files(filled.root)


def test_refused_requests_are_repeated_and_nothing_is_sent_twice(faulty, filled, tmp_path):
    """With 1 in 20 requests refused, and 1 in 11 slow."""
    faulty.every, faulty.slow = 20, 11
    push(filled, URL)
    seals = [name for name in faulty.puts if name.endswith(".kaleido-receipt.json")]
    assert {count for name, count in faulty.puts.items() if name not in seals} == {1}
    there = pulled(tmp_path / "there")
    assert faulty.refused >= 3
    assert files(there.root) == files(filled.root)


def test_downloads_that_are_cut_are_repeated(faulty, filled, tmp_path):
    push(filled, URL)
    faulty.cut = 4
    there = pulled(tmp_path / "there")
    assert faulty.downloads > 20
    assert files(there.root) == files(filled.root)
    store = Store(URL, backoff=0.01)
    faulty.cut = 1
    for call in (
        lambda: store.read("kaleido.toml"),
        lambda: store.fetch("data/000000.tar", tmp_path / "x", store.state("data/000000.tar")[0]),
    ):
        with pytest.raises(KaleidoError) as error:
            call()
        assert error.value.code == "store"


def test_a_proxy_that_wants_a_login_is_no_store(faulty, filled, tmp_path):
    push(filled, URL)
    faulty.page = True
    with pytest.raises(KaleidoError) as error:
        push(filled, URL, only=["data"])
    assert error.value.code == "store"
    there = open_or_make(filled.root, URL)
    with pytest.raises(InputMissing):
        pull(there, URL)
    faulty.page = False
    assert push(filled, URL).sent == 0


NAMES = (
    *("a b/ü ñ", "plus+and%20", "hash#q?x=1", "star*[1]", "日本語/語", "e\u0301"),
    *('it\'s "q"', "&;=@,:"),
)


def test_names_may_have_spaces_and_letters_of_any_script(faulty, filled, tmp_path):
    folder = filled.samples("a-star")
    for name in NAMES:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)
    push(filled, URL, only=["samples"])
    assert (
        files(pulled(tmp_path / "there").root).items()
        >= {f"samples/a-star/{name}": name.encode() for name in NAMES}.items()
    )
    (folder / NAMES[0]).unlink()
    push(filled, URL, only=["samples"])
    assert f"samples/a-star/{NAMES[0]}" not in Store(URL).sizes("")


@pytest.mark.slow
def test_a_listing_of_several_pages_is_read_whole(faulty):
    import s3fs

    names = {f"birds/many/{number:04}": b"x" for number in range(1100)}
    s3fs.S3FileSystem().pipe(names)
    faulty.every = 2
    assert len(Store("s3://birds/many").sizes("")) == len(names)
    assert faulty.refused


def test_a_killed_push_sends_no_finished_shard_again(faulty, filled, tmp_path):
    enough = threading.Event()
    faulty.gate = lambda: (enough.set() if len(faulty.puts) >= 12 else None, time.sleep(0.05))
    command = [sys.executable, "-m", "kaleido_cli", "push", URL, "-w", filled.root]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    assert enough.wait(120)
    process.send_signal(signal.SIGKILL)
    process.wait()
    faulty.gate = lambda: None
    time.sleep(0.3)  # the server answers what it has begun
    finished = {name for name in faulty.puts if name.endswith(".json")}
    faulty.puts.clear()
    push(filled, URL)
    assert not {name for name in faulty.puts if name in finished and "receipt" not in name}
    assert files(pulled(tmp_path / "there").root) == files(filled.root)


def test_machines_pull_and_push_a_part_each(faulty, filled, tmp_path):
    push(filled, URL, only=["data"])
    for number in (1, 2):
        part = Part(number, 2)
        machine = pulled(tmp_path / f"machine-{number}", only=["data"], part=part)
        assert len(machine.data_shards()) == (3, 2)[number - 1]
        extract(machine, ["palette"])
        assert push(machine, URL, only=["latents"]).sent == (3, 2)[number - 1]
    whole = pulled(tmp_path / "whole", only=["data", "latents"])
    palette = {name: data for name, data in files(filled.root).items() if "palette" in name}
    assert {name: data for name, data in files(whole.root).items() if "palette" in name} == palette


def test_shards_of_older_data_are_named_and_removed_on_demand(faulty, filled, tmp_path):
    push(filled, URL)
    for path in filled.root.rglob("000004.*"):
        path.unlink()
    assert push(filled, URL).extra == 2
    assert push(filled, URL, remove_extra=True).removed == 2
    assert not [path for path in pulled(tmp_path / "there").root.rglob("000004.*")]


def test_damaged_bytes_are_refused(faulty, filled, tmp_path):
    push(filled, URL)
    Store(URL).write("data/000002.tar", b"other bytes")
    with pytest.raises(KaleidoError) as error:
        pulled(tmp_path / "there")
    assert error.value.code == "bad-data"
    assert not (tmp_path / "there" / "data" / "000002.json").exists()


@pytest.mark.parametrize("name", ["../outside", "/etc/outside", "a/../../outside"])
def test_a_receipt_cannot_name_files_outside_its_folder(faulty, filled, tmp_path, name):
    push(filled, URL)
    receipt = {"complete": True, "files": {name: [1, "0" * 64]}}
    Store(URL).write("models/prior/.kaleido-receipt.json", json.dumps(receipt).encode())
    with pytest.raises(KaleidoError) as error:
        pulled(tmp_path / "there")
    assert error.value.code == "bad-data"


def test_files_of_the_user_are_not_replaced(faulty, filled, tmp_path):
    push(filled, URL)
    there = open_or_make(tmp_path / "there", URL)
    mine = there.data / "000001.tar"
    mine.parent.mkdir()
    mine.write_bytes(b"mine")
    with pytest.raises(KaleidoError) as error:
        pull(there, URL)
    assert error.value.code == "would-overwrite"
    assert mine.read_bytes() == b"mine"


def test_an_unfinished_folder_is_left_out(faulty, filled, tmp_path):
    push(filled, URL)
    store = Store(URL)
    name = "models/prior/.kaleido-receipt.json"
    store.write(name, store.read(name).replace(b'"complete": true', b'"complete": false'))
    there = open_or_make(tmp_path / "there", URL)
    assert pull(there, URL).unfinished == ["models/prior"]
    assert not there.models("prior").exists()


def test_a_bucket_that_does_not_exist_is_not_made(faulty, filled):
    with pytest.raises(KaleidoError):
        push(filled, "s3://nobody/w")
    with pytest.raises(InputMissing):
        open_or_make(filled.root / "new", "s3://nobody/w")
    assert not (filled.root / "new").exists()


@pytest.mark.parametrize("url", ["birds/w", "what://birds/w"])
def test_an_address_that_is_none(filled, url):
    with pytest.raises(KaleidoError) as error:
        push(filled, url)
    assert error.value.code == "bad-option"


@pytest.mark.parametrize("name", ["latent", "models/../data", "downloads"])
def test_a_place_that_is_none(faulty, filled, name):
    with pytest.raises(KaleidoError) as error:
        push(filled, URL, only=[name])
    assert error.value.code == "bad-option"


def test_a_folder_of_a_shared_disk_is_a_store_too(filled, tmp_path):
    url = f"file://{tmp_path}/store"
    push(filled, url)
    there = open_or_make(tmp_path / "there", url)
    pull(there, url)
    assert files(there.root) == files(filled.root)

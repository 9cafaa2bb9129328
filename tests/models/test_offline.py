"""While a model is loaded, no connection is made."""

from __future__ import annotations

import socket
import urllib.request

import pytest

from pipelines.core.errors import KaleidoError
from pipelines.models.offline import without_network


@pytest.fixture
def server():
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield listening.getsockname()


def test_connections_are_refused_and_named(server):
    for ask in (
        lambda: socket.create_connection(server),
        lambda: urllib.request.urlopen(f"http://{server[0]}:{server[1]}/weights.pt"),
        lambda: socket.getaddrinfo("localhost", 80),
    ):
        with pytest.raises(KaleidoError) as caught, without_network("model"):
            ask()
        assert (caught.value.code, caught.value.what) == ("network", "model")


def test_what_a_library_makes_of_it_is_told_as_well(server):
    with pytest.raises(KaleidoError) as caught, without_network("model"):
        try:
            socket.create_connection(server)
        except OSError:
            raise RuntimeError("there are no weights") from None
    assert caught.value.code == "network"


def test_other_errors_and_other_times_are_left_alone(server):
    with pytest.raises(ValueError), without_network("model"):
        raise ValueError
    with without_network("model"):
        with without_network("model"):
            pass
        with pytest.raises(OSError):
            socket.create_connection(server)
    socket.create_connection(server).close()


def test_processes_of_this_machine_are_reached(tmp_path):
    path = str(tmp_path / "socket")
    with socket.socket(socket.AF_UNIX) as listening, socket.socket(socket.AF_UNIX) as asking:
        listening.bind(path)
        listening.listen()
        with without_network("model"):
            asking.connect(path)

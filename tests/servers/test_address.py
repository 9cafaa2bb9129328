import pytest

from pipelines.core.errors import KaleidoError
from pipelines.servers.address import parse_address, read_key


@pytest.mark.parametrize(
    ("given", "base"),
    [
        ("http://localhost:8000", "http://localhost:8000/v1"),
        ("http://localhost:8000/v1/", "http://localhost:8000/v1"),
        ("https://api.example.org/openai/v1", "https://api.example.org/openai/v1"),
        ("http://[::1]:8000", "http://[::1]:8000/v1"),
    ],
)
def test_addresses_have_one_form(given, base):
    assert parse_address(given) == base


@pytest.mark.parametrize(
    "given",
    [
        "ftp://host",
        "http://",
        "localhost:8000",
        "file:///etc/passwd",
        "http://host/v1?x=1",
        "http://host/v1#x",
        "http://host:port",
        "http://user:secret@host/v1",
        "http://secret@host/v1",
    ],
)
def test_other_addresses_are_refused_without_their_password(given):
    with pytest.raises(KaleidoError) as caught:
        parse_address(given)
    assert caught.value.code == "bad-option" and "secret" not in str(caught.value)


HERE, AWAY = "http://127.0.0.1:8000/v1", "http://192.0.2.1/v1"


def test_a_key_comes_from_the_environment(monkeypatch):
    assert read_key(HERE, "") == ""
    monkeypatch.setenv("MY_API_KEY", " key-1\n")
    assert read_key(HERE, "MY_API_KEY") == "key-1"
    assert read_key("https://192.0.2.1/v1", "MY_API_KEY") == "key-1"


@pytest.mark.parametrize(
    ("address", "variable", "value"),
    [
        (HERE, "MY_API_KEY", None),
        (HERE, "MY_API_KEY", ""),
        (HERE, "MY_API_KEY", "two\nlines"),
        (HERE, "MY_API_KEY", "Schlüssel"),
        (HERE, "AWS_SECRET_ACCESS_KEY", "key-1"),
        (HERE, "PATH", "key-1"),
        (AWAY, "MY_API_KEY", "key-1"),
        ("http://localhost.example.org/v1", "MY_API_KEY", "key-1"),
    ],
)
def test_a_key_that_must_not_be_sent_is_refused(monkeypatch, address, variable, value):
    monkeypatch.delenv(variable, raising=False)
    if value is not None:
        monkeypatch.setenv(variable, value)
    with pytest.raises(KaleidoError) as caught:
        read_key(address, variable)
    assert caught.value.code == "bad-option"
    assert not value or value not in str(caught.value)

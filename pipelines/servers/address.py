"""The address of a server, and the key that it is sent."""

from __future__ import annotations

import ipaddress
import os
import re
from urllib.parse import urlsplit

from pipelines.core.errors import KaleidoError

KEY_NAME = re.compile(r"[A-Z][A-Z0-9_]*_API_KEY")
"""Variables that may hold a key. A workspace from elsewhere names the variable and the server, so
it must not be able to name any other secret of the environment."""


def is_address(text: str) -> bool:
    """Return whether a text that may also be a folder or a model's name is a server's address."""
    return text.startswith(("http://", "https://"))


def parse_address(text: str) -> str:
    """Check the address of a server and return it without a slash at its end.

    Args:
        text: ``http://localhost:8000/v1``; without a path, ``/v1`` is added.

    Raises:
        KaleidoError: If it is no address of this kind, or holds a password.
    """
    try:
        parts = urlsplit(text)
        port, host = parts.port, parts.hostname
    except ValueError as error:
        raise _wrong("a server", f"its address cannot be read ({error}).") from error
    if parts.username is not None or parts.password is not None:
        raise _wrong(
            f"the server {host}",
            "its address holds a user or a password, which would be written into files.",
            "Put the key into an environment variable and name that: --key-variable NAME.",
        )
    if parts.scheme not in ("http", "https") or not host or parts.query or parts.fragment:
        raise _wrong(
            f"the server {text!r}", "this is not an address such as http://localhost:8000/v1."
        )
    name = f"[{host}]" if ":" in host else host
    base = f"{parts.scheme}://{name}" + ("" if port is None else f":{port}")
    return base + (parts.path.rstrip("/") or "/v1")


def read_key(address: str, variable: str) -> str:
    """Read the key for a server from the environment.

    Args:
        address: As `parse_address` returns it.
        variable: Name of the environment variable; empty if the server needs no key.

    Returns:
        The key; empty without a variable. It must not be shown or written anywhere.

    Raises:
        KaleidoError: If the variable is not set or may not be read, or the key would travel
            unencrypted to another machine.
    """
    if not variable:
        return ""
    what = f"environment variable {variable}"
    if not KEY_NAME.fullmatch(variable):
        raise _wrong(
            what, "the name of a key ends in _API_KEY.", "Copy the key into such a variable."
        )
    key = os.environ.get(variable, "").strip()
    if not key:
        raise _wrong(what, "it is not set.", f"Run `export {variable}=…` first.")
    if not (key.isascii() and key.isprintable()):
        raise _wrong(what, "it holds characters that no key has.")
    if address.startswith("http:") and not is_local(address):
        raise _wrong(
            address,
            "the key would travel there unencrypted.",
            "Use https, or a tunnel that ends on this machine.",
        )
    return key


def is_local(address: str) -> bool:
    """Return whether an address is of this machine."""
    host = urlsplit(address).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _wrong(what: str, why: str, hint: str = "") -> KaleidoError:
    return KaleidoError(what, why, hint, code="bad-option")

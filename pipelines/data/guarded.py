"""Connections to addresses that were checked, within a time limit for each request."""

from __future__ import annotations

import ipaddress
import socket
import ssl
import time
from collections.abc import Iterable
from threading import local
from typing import Any

from pipelines.core.errors import BadRecord

_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
Address = ipaddress.IPv4Address | ipaddress.IPv6Address

_ENDS = local()


class TooLong(Exception):
    """A request has taken longer than its limit."""


def limit(seconds: float) -> None:
    """Limit the next request of this thread.

    Limits of silence alone would let a server send headers for ever, a byte now and then.
    """
    _ENDS.at = time.monotonic() + seconds


def is_public(address: Address) -> bool:
    """Return whether an address is of the public internet, also one that is wrapped in another."""
    if isinstance(address, ipaddress.IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour or (address.teredo or (None, None))[1]
        if address in _NAT64:
            inner = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        if inner is not None:
            return is_public(inner)
    return address.is_global and not address.is_multicast


def resolve(host: str, port: int) -> list[str]:
    """Return the addresses of a host."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


def guarded(private: bool) -> Any:
    """Return a backend of httpcore that connects to checked addresses alone, see `limit`.

    Args:
        private: Whether addresses of this machine and of private networks may be asked.
    """
    import httpcore

    class Limited(httpcore.NetworkStream):
        """A connection that is read until the request's time is over."""

        def __init__(self, stream: httpcore.NetworkStream) -> None:
            self._stream = stream

        def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
            if time.monotonic() > _ENDS.at:
                raise TooLong
            return self._stream.read(max_bytes, timeout)

        def write(self, buffer: bytes, timeout: float | None = None) -> None:
            self._stream.write(buffer, timeout)

        def close(self) -> None:
            self._stream.close()

        def start_tls(
            self,
            ssl_context: ssl.SSLContext,
            server_hostname: str | None = None,
            timeout: float | None = None,
        ) -> httpcore.NetworkStream:
            return Limited(self._stream.start_tls(ssl_context, server_hostname, timeout))

        def get_extra_info(self, info: str) -> Any:
            return self._stream.get_extra_info(info)

    class Guarded(httpcore.SyncBackend):
        """Resolves a host once, and connects to what was checked."""

        def connect_tcp(
            self,
            host: str,
            port: int,
            timeout: float | None = None,
            local_address: str | None = None,
            socket_options: Iterable[Any] | None = None,
        ) -> httpcore.NetworkStream:
            try:
                addresses = resolve(host, port)
            except OSError as error:
                raise httpcore.ConnectError(f"{host} is unknown ({error})") from error
            if not private:
                inside = [a for a in addresses if not is_public(ipaddress.ip_address(a))]
                if inside:
                    raise BadRecord(
                        host,
                        f"{host} is {inside[0]}, in a private network; --private-addresses asks it "
                        "nevertheless.",
                    )
            return Limited(
                super().connect_tcp(addresses[0], port, timeout, local_address, socket_options)
            )

    return Guarded()

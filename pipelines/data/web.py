"""Files at addresses that somebody else wrote into a table: fetched within limits, or not at all.

An address may point at anything that this machine can reach and others cannot: its own services, a
router, the metadata of a cloud. So hosts are resolved here and connected to by the address that was
checked, at each redirect anew, and none but public ones are asked.
"""

from __future__ import annotations

import hashlib
import re
import ssl
import time
from dataclasses import dataclass
from random import SystemRandom
from threading import Lock
from typing import Any
from urllib.parse import urljoin, urlsplit

from pipelines.core.backoff import jitter, retry_after
from pipelines.core.errors import BadRecord, KaleidoError
from pipelines.core.store import Store
from pipelines.data.guarded import TooLong, guarded, limit

STORES = ("s3", "gs", "hf")
"""Protocols that a store answers, with the credentials of the environment."""

MAX_BYTES = 50_000_000
"""Largest file that is fetched; some are in memory at once."""

CONNECT, SILENCE, TOTAL = 10.0, 30.0, 180.0
"""Most seconds to connect, without a byte, and for a whole file."""

ATTEMPTS = 5
"""How often an address is tried."""

REDIRECTS = 5

BUSY = (408, 425, 429, 500, 502, 503, 504)
"""Statuses after which trying again may help."""

MAX_WAIT = 60.0
"""Longest pause that a server may ask for, in seconds."""

GIVES_UP = 100
"""So many addresses in a row that cannot be reached end the run: then the network is at fault."""

_DIGEST = re.compile(r"[0-9a-f]{32}|[0-9a-f]{40}|[0-9a-f]{64}")
_HASHES = {32: "md5", 40: "sha1", 64: "sha256"}
_RANDOM = SystemRandom()  # no result depends on it, so it needs no seed


class _Transient(Exception):
    """A failure after which trying again may help.

    Attributes:
        wait: Seconds for which the server wants to be left alone.
    """

    def __init__(self, why: str, wait: float = 0.0) -> None:
        super().__init__(why)
        self.wait = wait


@dataclass(frozen=True)
class WebFile:
    """What a row of a table says of a file.

    Attributes:
        address: Where it is.
        digest: Its MD5, SHA-1 or SHA-256 in hexadecimal digits; empty if the table names none.
    """

    address: str
    digest: str = ""


class Web:
    """Fetches files; several threads may use it.

    Args:
        private: Whether addresses of this machine and of private networks may be asked.
        backoff: Longest pause before the first repetition, in seconds.
    """

    def __init__(self, private: bool = False, backoff: float = 1.0) -> None:
        import httpcore

        self._backoff = backoff
        self._pool = httpcore.ConnectionPool(
            ssl_context=ssl.create_default_context(),
            network_backend=guarded(private),
            keepalive_expiry=30.0,
        )
        self._failed, self._lock = 0, Lock()

    def close(self) -> None:
        """Close all connections."""
        self._pool.close()

    def fetch(self, file: WebFile) -> bytes:
        """Fetch a file.

        Raises:
            BadRecord: If its address may not be asked, there is none, it is too large, its digest
                is another one, or it cannot be had after `ATTEMPTS` tries.
            KaleidoError: If `GIVES_UP` addresses in a row could not be reached (``store``).
        """
        address, digest = file.address.strip(), file.digest.strip().lower()
        shown = address[:200]
        if digest and not _DIGEST.fullmatch(digest):
            raise BadRecord(shown, f"its digest {digest[:70]!r} is no MD5, SHA-1 or SHA-256.")
        content = self._patiently(address, shown)
        if digest and hashlib.new(_HASHES[len(digest)], content).hexdigest() != digest:
            raise BadRecord(shown, "its bytes are not those of the digest in the table.")
        return content

    def _patiently(self, address: str, shown: str) -> bytes:
        for attempt in range(ATTEMPTS):
            try:
                content = self._get(address, shown)
            except _Transient as error:
                last = error
                if attempt < ATTEMPTS - 1:
                    time.sleep(error.wait + jitter(attempt, self._backoff, _RANDOM.random()))
                continue
            except BadRecord:
                self._count(reached=True)
                raise
            self._count(reached=True)
            return content
        self._count(reached=False, why=str(last))
        raise BadRecord(shown, f"it cannot be fetched ({last}, {ATTEMPTS} times).")

    def _count(self, reached: bool, why: str = "") -> None:
        with self._lock:
            self._failed = 0 if reached else self._failed + 1
            if self._failed >= GIVES_UP:
                raise KaleidoError(
                    "the addresses of the table",
                    f"{self._failed} in a row cannot be reached ({why}).",
                    "Check the network, and run again: finished shards stay.",
                    code="store",
                )

    def _get(self, address: str, shown: str) -> bytes:
        scheme = address.partition("://")[0].lower()
        if scheme in STORES and "::" not in address:
            folder, _, name = address.rpartition("/")
            try:
                return _bounded(Store(folder), name, shown)
            except KaleidoError as error:
                raise BadRecord(shown, error.why) from error
        for _ in range(REDIRECTS + 1):
            _check(address, shown)
            found = self._ask(address, shown)
            if isinstance(found, bytes):
                return found
            try:
                address = urljoin(address, found)
            except ValueError as error:
                raise BadRecord(shown, f"it redirects to no address ({error}).") from error
        raise BadRecord(shown, f"it redirects more than {REDIRECTS} times.")

    def _ask(self, address: str, shown: str) -> bytes | str:
        """Return a file, or the address to which the server redirects."""
        import httpcore

        limits = {"connect": CONNECT, "read": SILENCE, "write": SILENCE, "pool": TOTAL}
        headers = [("Accept-Encoding", "identity"), ("User-Agent", "kaleido-diffusion")]
        limit(TOTAL)
        try:
            with self._pool.stream(
                "GET", _ascii(address), headers=headers, extensions={"timeout": limits}
            ) as response:
                return _read(response, shown)
        except TooLong as error:
            raise BadRecord(shown, f"it takes over {TOTAL:.0f} seconds.") from error
        except (httpcore.TimeoutException, httpcore.NetworkError, httpcore.ProtocolError) as error:
            raise _Transient(str(error) or type(error).__name__) from error
        except (UnicodeError, ValueError, httpcore.UnsupportedProtocol) as error:
            raise BadRecord(shown, f"it is no address ({error}).") from error


def _read(response: Any, shown: str) -> bytes | str:
    headers = {key.decode("latin-1").lower(): value for key, value in response.headers}
    status = int(response.status)
    if status in BUSY:
        wait = retry_after(headers.get("retry-after", b"").decode("latin-1"), MAX_WAIT)
        raise _Transient(f"status {status}", wait or 0.0)
    if 300 <= status < 400 and "location" in headers:
        return str(headers["location"].decode("latin-1"))
    if status != 200:
        raise BadRecord(shown, f"the server answers with status {status}.")
    if headers.get("content-encoding", b"").lower() not in (b"", b"identity"):
        raise BadRecord(shown, "the server compresses it, though that was not asked for.")
    parts, size = [], 0
    for part in response.iter_stream():
        size += len(part)
        if size > MAX_BYTES:
            raise BadRecord(shown, f"it is over {MAX_BYTES:,} bytes.")
        parts.append(part)
    stated = headers.get("content-length", b"").decode("latin-1")
    if stated.isdigit() and int(stated) != size:
        raise _Transient("the file was cut off")
    return b"".join(parts)


def _bounded(store: Store, name: str, shown: str) -> bytes:
    size, _ = store.state(name)
    if size > MAX_BYTES:
        raise BadRecord(shown, f"it is over {MAX_BYTES:,} bytes.")
    return store.read(name)


def _check(address: str, shown: str) -> None:
    """Refuse what is no plain address of the web."""
    try:
        parts = urlsplit(address)
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        raise BadRecord(shown, f"it is no address ({error}).") from error
    if parts.scheme.lower() not in ("http", "https") or not host:
        known = ", ".join(f"{name}://" for name in ("http", "https", *STORES))
        raise BadRecord(shown, f"only {known} are fetched.")
    if parts.username is not None or parts.password is not None:
        raise BadRecord("an address", "it holds a name or password, which is not sent.")


def _ascii(address: str) -> str:
    """Write an address with ASCII characters alone, as it travels."""
    from urllib.parse import quote

    parts = urlsplit(address)
    host = (parts.hostname or "").encode("idna").decode("ascii")
    host = f"[{host}]" if ":" in host else host
    port = f":{parts.port}" if parts.port else ""
    path = quote(parts.path or "/", safe="/%:@!$&'()*+,;=~-._")
    query = f"?{quote(parts.query, safe='/?%:@!$&()*+,;=~-._[]')}" if parts.query else ""
    return f"{parts.scheme.lower()}://{host}{port}{path}{query}"

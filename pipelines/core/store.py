"""A folder of an object store, through fsspec, with bounded retries."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from pathlib import Path
from random import SystemRandom
from typing import Any, TypeVar

from pipelines.core.backoff import jitter
from pipelines.core.errors import InputMissing, KaleidoError
from pipelines.core.extras import import_extra
from pipelines.core.files import FULL, atomic_write, replacing

ATTEMPTS = 8
"""How often a request is tried; with 1 in 20 failing, one of 10^10 requests fails for good."""

BACKOFF = 0.5
"""Longest pause after the first failure, in seconds."""

MAX_TEXT = 64 * 2**20
"""The largest manifest or receipt, in bytes."""

FINAL = (FileNotFoundError, PermissionError, IsADirectoryError, NotADirectoryError)
"""Errors that repeating does not mend."""

_PACKAGES = {"s3": "s3fs", "s3a": "s3fs", "gs": "gcsfs", "gcs": "gcsfs", "az": "adlfs"}

_RANDOM = SystemRandom()  # no result depends on it, so it needs no seed

ResultT = TypeVar("ResultT")


def _reason(error: Exception) -> Exception:
    """Return what went wrong: fsspec says of every failure over HTTP that the file is not found."""
    cause = error.__cause__
    refused = getattr(cause, "status", 404) != 404  # what a server answered
    if isinstance(cause, Exception) and (refused or isinstance(cause, OSError)):
        return cause
    return error


def _require_whole(came: int, size: int | None) -> None:
    """Raise ConnectionError, after which a request is repeated, if some bytes have not come."""
    if size and came != size:
        raise ConnectionError(f"{came:,} of {size:,} bytes came")


class Store:
    """A folder at a URL such as ``s3://bucket/folder``. It may be used by several threads.

    Credentials and endpoints are those that the store's own tools read from the environment.

    Args:
        url: Its address.
        backoff: See `BACKOFF`.

    Raises:
        KaleidoError: If the URL has no known protocol (``bad-option``), or its package is not
            installed (``not-installed``).
    """

    def __init__(self, url: str, backoff: float = BACKOFF) -> None:
        self.url, self._backoff = url.rstrip("/"), backoff
        protocol, separator, _ = url.partition("://")
        if not separator:
            why = "it is no URL."
            hint = "Write s3://bucket/folder, gs://bucket/folder or file:///mnt/folder."
            raise KaleidoError(url, why, hint, code="bad-option")
        if "@" in url.split("/")[2]:
            why = "it holds a name or password, which would be written down with the data."
            raise KaleidoError("URL", why, "Put them into the environment.", code="bad-option")
        fsspec = import_extra("fsspec", "remote")
        self._is_folder = protocol in ("file", "local")
        try:
            options = {"auto_mkdir": True} if self._is_folder else {}
            self._files, root = fsspec.core.url_to_fs(self.url, use_listings_cache=False, **options)
        except ImportError as error:
            package = _PACKAGES.get(protocol, f"the fsspec package for {protocol}")
            raise KaleidoError(
                url, f"{package} is not installed.", f"Install {package}.", code="not-installed"
            ) from error
        except ValueError as error:
            raise KaleidoError(
                url, f"{error}.", "Check the protocol.", code="bad-option"
            ) from error
        self._root = str(root).rstrip("/")

    def sizes(self, folder: str) -> dict[str, int]:
        """List the files below a folder: path relative to the store -> bytes."""

        def find() -> dict[str, Any]:
            found: dict[str, Any] = self._files.find(self._path(folder), detail=True)
            return found

        try:
            found = self._patiently(folder, find)
        except InputMissing:
            return {}
        start = len(self._root) + 1
        return {path[start:]: int(info["size"] or 0) for path, info in found.items()}

    def state(self, path: str) -> tuple[int, str]:
        """Return the size of a file, and a mark that changes with its contents.

        Raises:
            InputMissing: If there is no such file.
        """
        info = self._patiently(path, lambda: self._files.info(self._path(path)))
        names = ("ETag", "etag", "md5Hash", "mtime", "LastModified", "updated")
        mark = next((str(info[name]) for name in names if info.get(name)), "")
        return int(info["size"] or 0), mark

    def read(self, path: str) -> bytes:
        """Read a small file.

        Raises:
            InputMissing: If there is no such file.
            KaleidoError: If it has over `MAX_TEXT` bytes, or the store fails for good.
        """

        def read() -> bytes:
            size = self._files.size(self._path(path))
            if size > MAX_TEXT:
                why = f"it has over {MAX_TEXT:,} bytes."
                raise KaleidoError(f"{self.url}/{path}", why, "Look at the file.", "bad-data")
            content: bytes = self._files.cat_file(self._path(path))
            _require_whole(len(content), size)
            return content

        return self._patiently(path, read)

    def write(self, path: str, content: bytes) -> None:
        """Write a small file, whole or not at all."""

        def write() -> None:
            if self._is_folder:
                atomic_write(Path(self._path(path)), content)
            else:
                self._files.pipe_file(self._path(path), content)

        self._patiently(path, write)

    def send(self, file: Path, path: str) -> None:
        """Upload a file, whole or not at all."""

        def send() -> None:
            if self._is_folder:
                with replacing(Path(self._path(path))) as temporary:
                    shutil.copyfile(file, temporary)
            else:
                self._files.put_file(str(file), self._path(path))

        self._patiently(path, send)

    def fetch(self, path: str, file: Path, size: int = 0) -> None:
        """Download a file.

        Args:
            path: In the store.
            file: Where to.
            size: Bytes that it must have; 0 if that is unknown.
        """

        def fetch() -> None:
            self._files.get_file(self._path(path), str(file))
            _require_whole(file.stat().st_size, size)

        self._patiently(path, fetch)

    def remove(self, path: str) -> None:
        """Remove a file; nothing happens if there is none."""
        try:
            self._patiently(path, lambda: self._files.rm_file(self._path(path)))
        except InputMissing:
            return

    def _path(self, path: str) -> str:
        return f"{self._root}/{path}".rstrip("/")

    def _patiently(self, path: str, call: Callable[[], ResultT]) -> ResultT:
        """Repeat a request that fails, with growing pauses.

        Raises:
            InputMissing: If there is no such file.
            KaleidoError: If access is denied, or it failed `ATTEMPTS` times.
            OSError: If a disk is full.
        """
        what = f"{self.url}/{path}"
        for attempt in range(1, ATTEMPTS + 1):
            try:
                return call()
            except KaleidoError:
                raise
            except Exception as raised:  # each store's client has errors of its own
                error = _reason(raised)
                if isinstance(error, FileNotFoundError):
                    raise InputMissing(what, "there is no such file.", "Check the URL.") from error
                if isinstance(error, OSError) and error.errno in FULL:
                    raise  # of the disk here
                if attempt == ATTEMPTS or isinstance(error, FINAL):
                    why = f"the store refused or failed ({type(error).__name__}: {error})."
                    hint = "Check credentials, clock and connection, and run again."
                    raise KaleidoError(what, why, hint, code="store") from error
                time.sleep(jitter(attempt - 1, self._backoff, _RANDOM.random()))
        raise AssertionError("the last attempt returns or raises")

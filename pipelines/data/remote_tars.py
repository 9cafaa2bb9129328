"""Tars at addresses, such as ``s3://bucket/{00000..00099}.tar``; the next is fetched meanwhile."""

from __future__ import annotations

import re
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Thread

from pipelines.core.errors import KaleidoError
from pipelines.core.store import Store
from pipelines.core.temporary import process_folder
from pipelines.core.threads import in_threads

MAX_TARS = 1_000_000
"""Most tars that one pattern may stand for."""

_RANGE = re.compile(r"\{(\d{1,9})\.\.(\d{1,9})\}")


@dataclass(frozen=True)
class RemoteTar:
    """A tar of a store.

    Attributes:
        store: Its folder.
        name: Its name there.
        state: Size, and a mark that changes with its contents.
    """

    store: Store
    name: str
    state: tuple[int, str]

    def fetching(self) -> Fetching:
        """Return what makes a temporary copy."""
        return Fetching(self)


class Fetching:
    """A tar that is fetched, perhaps before it is needed.

    Args:
        tar: The tar.
    """

    def __init__(self, tar: RemoteTar) -> None:
        # A folder of its own: two folders of a store may hold tars of one name.
        self._tar, self._folder = tar, process_folder() / "tars" / secrets.token_hex(4)
        self._thread: Thread | None = None
        self._error: BaseException | None = None

    def begin(self) -> None:
        """Begin to fetch it, in a thread."""
        if self._thread is None:
            self._folder.mkdir(parents=True)
            self._thread = Thread(target=self._fetch, daemon=True)
            self._thread.start()

    @contextmanager
    def copy(self) -> Iterator[Path]:
        """Yield the temporary copy, of the same name, once it is there.

        Raises:
            KaleidoError: If the store failed. Errors about the copy name the address instead.
        """
        self.begin()
        path = self._folder / self._tar.name
        try:
            assert self._thread is not None
            self._thread.join()
            if self._error is not None:
                raise self._error
            yield path
        except KaleidoError as error:
            what = error.what.replace(str(path), f"{self._tar.store.url}/{self._tar.name}")
            raise KaleidoError(what, error.why, error.hint, error.code) from error
        finally:
            shutil.rmtree(self._folder, ignore_errors=True)

    def _fetch(self) -> None:
        try:
            tar = self._tar
            tar.store.fetch(tar.name, self._folder / tar.name, tar.state[0])
        except BaseException as error:  # raised again by whoever waits
            self._error = error


def is_address(text: str) -> bool:
    """Whether a text is a URL and not a path."""
    return re.match(r"[A-Za-z][A-Za-z0-9+.-]+://", text) is not None


def list_remote(address: str) -> list[RemoteTar]:
    """List the tars of an address in order.

    Args:
        address: A tar, several with ranges such as ``{00000..00099}`` in their names, or a folder.

    Raises:
        InputMissing: If one does not exist.
        KaleidoError: If there is none, or the store cannot be used.
    """
    if address.endswith(".tar"):
        folders = {url: Store(url.rpartition("/")[0]) for url in expand(address)}
        tars = [(store, url.rpartition("/")[2]) for url, store in folders.items()]
    else:
        store = Store(address)
        tars = [(store, name) for name in store.sizes("") if re.fullmatch(r"[^/.][^/]*\.tar", name)]
    if not tars:
        hint = "Name a .tar, several as {00000..00099}.tar, or a folder that holds some."
        raise KaleidoError(address, "there is no .tar here.", hint, code="bad-data")
    found = in_threads(lambda tar: RemoteTar(*tar, tar[0].state(tar[1])), tars)
    return sorted(found, key=lambda tar: (tar.store.url, tar.name))


def expand(pattern: str) -> list[str]:
    """Write out the ranges of a pattern: ``{08..10}`` is 08, 09, 10.

    Raises:
        KaleidoError: If a range runs backwards, or they stand for over `MAX_TARS` names.
    """
    names = [""]
    position = 0
    for match in _RANGE.finditer(pattern):
        first, last, width = int(match[1]), int(match[2]), len(match[1])
        if not 0 < (last - first + 1) * len(names) <= MAX_TARS:
            why = f"{match[0]} runs backwards, or over {MAX_TARS:,} names."
            raise KaleidoError(pattern, why, "Write {00000..00099}.", code="bad-option")
        fixed = pattern[position : match.start()]
        numbers = [f"{number:0{width}d}" for number in range(first, last + 1)]
        names = [f"{name}{fixed}{number}" for name in names for number in numbers]
        position = match.end()
    return [name + pattern[position:] for name in names]

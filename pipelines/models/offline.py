"""No network while a model is built or loaded."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from pipelines.core.errors import KaleidoError

_EVENTS = ("socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "socket.sendto")

_depth = 0
_hooked = False


@contextmanager
def without_network(name: str) -> Iterator[None]:
    """Refuse every connection of this process until the context ends.

    Configurations can name weights to download (TorchVision's layer in a YAML, a ``backbone`` of
    timm, an ``audio_tokenizer``), and the libraries have no common switch that forbids it. Python
    announces each connection by an audit event, which a hook may refuse. Sockets between processes
    of this machine (``AF_UNIX``) stay allowed.

    Args:
        name: The model, for the error.

    Raises:
        KaleidoError: If the code inside fails because it asked for the network.
    """
    global _depth, _hooked
    if not _hooked:
        sys.addaudithook(_refuse)  # cannot be removed, hence once and with a counter
        _hooked = True
    _depth += 1
    try:
        yield
    except Exception as error:
        if any(isinstance(cause, _Refused) for cause in _causes(error)):
            raise KaleidoError(
                name,
                "it asks for the network while it is loaded; only local files are read.",
                "Use a model that is complete in its folder.",
                code="network",
            ) from error
        raise
    finally:
        _depth -= 1


class _Refused(OSError):
    """A connection was asked for; an OSError, so that libraries clean up as for a dead network."""


def _refuse(event: str, arguments: tuple[Any, ...]) -> None:
    if not _depth or event not in _EVENTS:
        return
    if event != "socket.getaddrinfo" and isinstance(arguments[-1], str | bytes):
        return  # the address of a socket in the file system
    raise _Refused(f"{event} was refused: no network while a model is loaded")


def _causes(error: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    pending: list[BaseException | None] = [error]
    while pending:
        each = pending.pop()
        if each is None or id(each) in seen:
            continue
        seen.add(id(each))
        yield each
        pending += [each.__cause__, each.__context__, getattr(each, "reason", None)]

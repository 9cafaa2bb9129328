"""Stop a training run on Ctrl-C, SIGTERM or SIGHUP, after it has saved a checkpoint."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

SIGNALS = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
)
"""Ctrl-C; what Slurm, Kubernetes and `docker stop` send; a closed terminal."""


class StopRequest:
    """A request to stop.

    Attributes:
        number: The signal that asked for it, or None.
    """

    def __init__(self) -> None:
        self.number: int | None = None

    @property
    def asked(self) -> bool:
        """Whether a signal has arrived."""
        return self.number is not None

    def leave(self) -> NoReturn:
        """End the run as the signal would have ended it.

        Raises:
            KeyboardInterrupt: After Ctrl-C.
            SystemExit: After another signal, with the status 128 + its number.
        """
        if self.number is None or self.number == signal.SIGINT:
            raise KeyboardInterrupt
        raise SystemExit(128 + self.number)


@contextmanager
def stop_signals() -> Iterator[StopRequest]:
    """Turn the first of `SIGNALS` into a request; a second one has its usual effect.

    Signals that are ignored, as SIGHUP is under nohup, stay ignored. Python delivers signals to the
    main thread only, so nothing changes in any other.
    """
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield request
        return
    before = {number: signal.getsignal(number) for number in SIGNALS}
    taken = [number for number, handler in before.items() if handler is not signal.SIG_IGN]

    def restore() -> None:
        for number in taken:
            signal.signal(number, before[number])

    def ask(number: int, frame: FrameType | None) -> None:
        request.number = number
        restore()

    for number in taken:
        signal.signal(number, ask)
    try:
        yield request
    finally:
        restore()


def ignore_stop_signals() -> None:
    """Leave `SIGNALS` to the parent: a loader's worker that ended by itself would end the run."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)

"""The program in forks of the tests' process: as in a process of its own, without the imports."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path


def forked(action: Callable[[], object], output: Path, patience: float = 300.0) -> int:
    """Call a function in a fork, with its output in a file.

    Returns:
        The exit status, or a signal as -N: SIGKILL also after `patience` seconds.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*use of fork", category=DeprecationWarning)
        pid = os.fork()
    if pid == 0:
        _end_with(action, output)
    end = time.monotonic() + patience
    while True:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        if time.monotonic() > end:
            os.kill(pid, signal.SIGKILL)
        time.sleep(0.01)


def kaleido(*arguments: object) -> None:
    """Call the program as the command line does; it ends by SystemExit."""
    from kaleido_cli.__main__ import main

    sys.argv = ["kaleido", *map(str, arguments)]
    main()


def disturbed(
    module: object, name: str, by: int | Exception, call: int = 1, about: str = ""
) -> None:
    """Let the nth call of a function whose arguments contain a text send a signal, or raise."""
    real, calls = getattr(module, name), 0

    def function(*arguments: object, **options: object) -> object:
        nonlocal calls
        calls += about in str(arguments)
        if calls == call:
            if isinstance(by, Exception):
                raise by
            os.kill(os.getpid(), by)
        return real(*arguments, **options)

    setattr(module, name, function)


def _end_with(action: Callable[[], object], output: Path) -> None:
    status = 99
    try:
        for number, handler in {
            signal.SIGINT: signal.default_int_handler,
            signal.SIGTERM: signal.SIG_DFL,
            signal.SIGHUP: signal.SIG_DFL,
        }.items():
            signal.signal(number, handler)
        file = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(file, 1)
        os.dup2(file, 2)
        sys.stdout, sys.stderr = os.fdopen(1, "w"), os.fdopen(2, "w")
        action()
        status = 0
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
    finally:
        threading._shutdown()  # as the interpreter does: threads under way end
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        os._exit(status)

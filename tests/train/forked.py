"""Functions in several processes that train together."""

from __future__ import annotations

import multiprocessing
import os
import socket
import warnings
from collections.abc import Callable
from typing import Any


def in_ranks(count: int, function: Callable[[], Any], timeout: float = 120.0) -> list[Any]:
    """Call a function in forked ranks; return their results, or the exceptions that they raised.

    A rank that ends without either, or takes longer than `timeout` seconds, gives its exit code.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    context = multiprocessing.get_context("fork")
    ends = [context.Pipe(duplex=False) for _ in range(count)]

    def run(rank: int) -> None:
        os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(count)}
        os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
        try:
            result = function()
        except BaseException as error:
            result = error
        ends[rank][1].send(result)

    processes = [context.Process(target=run, args=(rank,)) for rank in range(count)]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*use of fork", category=DeprecationWarning)
        for process in processes:
            process.start()
    results = []
    for process, (end, _) in zip(processes, ends, strict=True):
        while process.is_alive() and not end.poll(0.05) and timeout > 0:
            timeout -= 0.05
        found = end.recv() if end.poll() else None
        process.join(5)
        if process.is_alive():
            process.kill()
            process.join()
        results.append(process.exitcode if found is None and process.exitcode else found)
    return results

"""Telling that memory ran out from other errors."""

from __future__ import annotations

from pipelines.core.errors import KaleidoError

_SIGNS = (
    "out of memory",
    "can't allocate memory",
    "cannot allocate memory",
    "not enough memory",
    "alloc_failed",
    "bad_alloc",
)
"""Parts of the messages of torch, whose CPU allocator has no exception class of its own."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that the CPU or the GPU ran out of memory."""
    if isinstance(error, MemoryError):
        return True
    text = str(error).lower()
    if isinstance(error, ImportError):
        return "failed to map segment" in text  # of a library that has no room any more
    return isinstance(error, RuntimeError | OSError) and any(sign in text for sign in _SIGNS)


def out_of_memory(what: str, hint: str) -> KaleidoError:
    """Return the error to raise where `is_out_of_memory` is true."""
    return KaleidoError(what, "the memory ran out.", hint, code="out-of-memory")

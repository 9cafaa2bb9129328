"""Fill the chat template of a model within bounds: it is a program, which may loop for ever."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from time import thread_time
from types import FrameType
from typing import Any

from pipelines.core.errors import KaleidoError

MOST_SECONDS = 10.0
"""CPU time that a template may take; the longest in use take milliseconds."""


def fill_chat(model: Any, chat: Sequence[Any], **options: Any) -> Any:
    """Return what ``apply_chat_template`` of a tokenizer or processor makes of a chat.

    jinja compiles a template to Python, so a trace of that code can end it between two lines.

    Args:
        model: The tokenizer or processor.
        chat: The messages.
        options: Further arguments.

    Raises:
        KaleidoError: If the template takes more than `MOST_SECONDS` (``bad-model``).
    """
    end, before = thread_time() + MOST_SECONDS, sys.gettrace()

    def watch(frame: FrameType, event: str, value: Any) -> Callable[..., Any]:
        if thread_time() > end:
            raise KaleidoError(
                "the model's chat template",
                f"it did not end within {MOST_SECONDS:g} seconds.",
                "Repair the template, or use another model.",
                code="bad-model",
            )
        return watch

    sys.settrace(watch)
    try:
        return model.apply_chat_template(chat, **options)
    finally:
        sys.settrace(before)

"""Reading what a server answers. It is data of a stranger and may be anything."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from pipelines.documents.strict_json import parse

_VERSION = re.compile(r"[-@:](?:\d[\w.-]*|main|latest)")
"""What servers add to the name of a model: a date, a revision, or a tag."""

_THOUGHT = re.compile(r"\s*<think>.*?</think>", re.DOTALL)
"""Reasoning that some servers leave in the answer."""


@dataclass(frozen=True)
class Reply:
    """An answer.

    Attributes:
        text: What the model wrote, without reasoning.
        cut: Whether it was cut at the limit of tokens.
        refused: Whether the model, or a filter of the server, refused to answer.
        tokens_in: Tokens of the question, as the server counts them; -1 if it does not say.
        tokens_out: Tokens of the answer, likewise.
    """

    text: str
    cut: bool = False
    refused: bool = False
    tokens_in: int = -1
    tokens_out: int = -1


@dataclass(frozen=True)
class Unanswered:
    """Why a question has no answer; a later run may get one.

    Attributes:
        why: One sentence.
        server: Whether the server is at fault rather than the question or this one answer.
    """

    why: str
    server: bool = False


def read_reply(body: bytes, model: str) -> Reply | Unanswered:
    """Read the body of a successful response.

    Args:
        body: JSON, as the protocol has it.
        model: The model that was asked.
    """
    value, problems = parse(body)
    if problems or not isinstance(value, dict):
        return Unanswered("the server's response is not JSON of the protocol.", server=True)
    if value.get("error") and not value.get("choices"):  # some proxies answer so with status 200
        return Unanswered(f"the server answers with an error: {message_of(body)}", server=True)
    answered = value.get("model")
    if not isinstance(answered, str) or not is_model(answered, model):
        shown = ascii(answered)[:80]
        return Unanswered(f"another model than the one asked has answered: {shown}.", server=True)
    choices = value.get("choices")
    choice = choices[0] if isinstance(choices, list) and choices else None
    message = choice.get("message") if isinstance(choice, dict) else None
    if not isinstance(choice, dict) or not isinstance(message, dict):
        return Unanswered("the server's response holds no answer.", server=True)
    text, refusal = _joined(message.get("content")), message.get("refusal")
    if not isinstance(text, str | None) or not isinstance(refusal, str | None):
        return Unanswered("the server's response holds no text.", server=True)
    end = choice.get("finish_reason")
    used = value.get("usage")
    return Reply(
        _THOUGHT.sub("", text or refusal or "", count=1).strip(),
        end == "length",
        bool(refusal) or end == "content_filter",
        _count(used, "prompt_tokens"),
        _count(used, "completion_tokens"),
    )


def _joined(content: Any) -> Any:
    """Return the text of a message that some servers divide into parts; anything else as it is."""
    if not isinstance(content, list) or not content:
        return content
    texts = [part.get("text") if isinstance(part, dict) else None for part in content]
    return "".join(map(str, texts)) if all(isinstance(text, str) for text in texts) else content


def is_model(answered: str, asked: str) -> bool:
    """Return whether a model that answered is the one asked, or a version of it."""
    name, wanted = answered.casefold(), asked.casefold()
    if not name.startswith(wanted):
        return False
    return name == wanted or _VERSION.fullmatch(name[len(wanted) :]) is not None


def message_of(body: bytes) -> str:
    """Return what a server says about an error, on one line of at most 200 characters."""
    value, problems = parse(body)
    found: Any = value if isinstance(value, dict) and not problems else {}
    for key in ("error", "message", "detail"):
        found = found.get(key, found) if isinstance(found, dict) else found
    text = found if isinstance(found, str) else body[:1000].decode("utf-8", "replace")
    printable = "".join(char if char.isprintable() else " " for char in text)
    return " ".join(printable.split())[:200]


def _count(used: Any, name: str) -> int:
    value = used.get(name) if isinstance(used, dict) else None
    return value if type(value) is int and 0 <= value < 2**40 else -1

"""Asking until an answer can be used, a bounded number of times."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from pipelines.servers.client import Client
from pipelines.servers.question import Question
from pipelines.servers.reply import Reply, Unanswered

TRIES = 3
"""How often a question is asked before its answers count as unusable."""

T = TypeVar("T")


@dataclass(frozen=True)
class Complaint:
    """Why an answer cannot be used, in words for the model and for the user."""

    why: str


def ask_until_usable(
    client: Client,
    questions: Sequence[Question],
    read: Callable[[int, Reply], T | Complaint],
    tries: int = TRIES,
) -> list[T | Unanswered]:
    """Ask questions; those with unusable answers are asked again, with the complaint.

    Args:
        client: Whom to ask.
        questions: What to ask.
        read: Reads the answer to the question of a number, or complains.
        tries: Most answers to one question, at least 1.

    Returns:
        What `read` made of each answer; or why there is none.

    Raises:
        KaleidoError: As `Client.ask`.
    """
    found: dict[int, T | Unanswered] = {}
    left = dict(enumerate(questions))
    for attempt in range(1, tries + 1):
        replies = client.ask(list(left.values()))
        retried: dict[int, Question] = {}
        for (number, question), reply in zip(left.items(), replies, strict=True):
            if isinstance(reply, Unanswered):
                found[number] = reply
                continue
            result = read(number, reply)
            if not isinstance(result, Complaint):
                found[number] = result
            elif attempt == tries:
                found[number] = Unanswered(f"{result.why} (in {tries} answers)")
            else:
                retried[number] = question.again(reply.text, result.why)
        left = retried
        if not left:
            break
    return [found[number] for number in range(len(questions))]

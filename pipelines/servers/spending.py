"""What a run has spent on a server, and the limits that it must keep."""

from __future__ import annotations

import time
from dataclasses import dataclass

from pipelines.core.errors import KaleidoError
from pipelines.core.progress import Clock
from pipelines.servers.question import Question
from pipelines.servers.reply import Reply
from pipelines.workspace.settings import ServerSettings

_CHARACTERS = 2
"""Characters a token, for a question whose tokens nobody has counted: cautious for most scripts."""

_PICTURE = 2000
"""Tokens of a picture, likewise."""


@dataclass(frozen=True)
class Estimate:
    """A bound on what a request may cost before its answer is known."""

    tokens_in: int
    tokens_out: int


class Spending:
    """Counts requests, tokens and cost of one run.

    A request is reserved before it is sent, so limits hold however many are under way.

    Args:
        settings: Limits and prices.
        clock: Seconds from any origin.

    Attributes:
        requests: Requests that were answered or may have been charged.
        answers: Questions that were answered, without those from the cache.
        cached: Questions whose answers were in the cache.
        waits: Times that the server said it was busy.
        tokens_in: Tokens of all questions.
        tokens_out: Tokens of all answers.

    Raises:
        KaleidoError: If the cost is limited and no price is known.
    """

    def __init__(self, settings: ServerSettings, clock: Clock = time.monotonic) -> None:
        if settings.max_cost and not (settings.price_in or settings.price_out):
            raise KaleidoError(
                "--max-cost",
                "the prices of tokens are not known.",
                "Give --price-in and --price-out, per million tokens.",
                code="bad-option",
            )
        self._settings, self._clock, self._start = settings, clock, clock()
        self._reserved: dict[int, Estimate] = {}
        self.requests = self.answers = self.cached = self.waits = 0
        self.tokens_in = self.tokens_out = 0

    @property
    def cost(self) -> float:
        """Cost so far, in the unit of the prices."""
        return self._cost(self.tokens_in, self.tokens_out)

    def reserve(self, question: Question, thoughts: int = 0) -> int | None:
        """Reserve a request.

        Args:
            question: What will be asked.
            thoughts: Tokens of reasoning beside its answer.

        Returns:
            A ticket for `settle`; None if it has to wait for requests under way to settle.

        Raises:
            KaleidoError: If a limit is reached (``budget``).
        """
        limits = self._settings
        held = self._reserved.values()
        estimate = estimate_of(question, thoughts)
        count = self.requests + len(held) + 1
        cost = self.cost + sum(self._cost(e.tokens_in, e.tokens_out) for e in (*held, estimate))
        over = bool(limits.max_requests) and count > limits.max_requests
        dear = bool(limits.max_cost) and cost > limits.max_cost
        if (over or dear) and held:
            return None
        if over:
            raise _spent("--max-requests", f"{self.requests:,} requests have been sent")
        if dear:
            raise _spent("--max-cost", f"{self.cost:.4g} is spent and the next may cost too much")
        ticket = 1 + max(self._reserved, default=0)
        self._reserved[ticket] = estimate
        return ticket

    def settle(self, ticket: int, reply: Reply | None = None, charged: bool = True) -> None:
        """Replace a reservation by what the request cost.

        Args:
            ticket: From `reserve`.
            reply: The answer; None if there is none.
            charged: Whether a request without an answer may have been charged.
        """
        estimate = self._reserved.pop(ticket)
        if reply is None and not charged:
            return
        self.requests += 1
        self.answers += reply is not None
        self.tokens_in += _either(reply.tokens_in if reply else -1, estimate.tokens_in)
        self.tokens_out += _either(reply.tokens_out if reply else -1, estimate.tokens_out)

    def note(self) -> str:
        """Say what was spent, on a part of a line."""
        if not (self.answers or self.cached or self.waits):
            return ""
        rate = self.answers / max(self._clock() - self._start, 1e-9)
        limits = self._settings
        parts = [f"{self.answers:,} answers ({rate:.3g}/s)"]
        parts += [f"{self.requests:,} of {limits.max_requests:,} requests"] * bool(
            limits.max_requests
        )
        parts += [f"{self.cached:,} known"] * bool(self.cached)
        parts += [f"{self.tokens_in + self.tokens_out:,} tokens"] * bool(self.answers)
        most = f" of {limits.max_cost:g}" if limits.max_cost else ""
        parts += [f"cost {self.cost:.4g}{most}"] * bool(self.cost)
        parts += [f"{self.waits:,} waits"] * bool(self.waits)
        return ", ".join(parts)

    def _cost(self, tokens_in: int, tokens_out: int) -> float:
        prices = self._settings
        return (tokens_in * prices.price_in + tokens_out * prices.price_out) / 1e6


def estimate_of(question: Question, thoughts: int = 0) -> Estimate:
    """Return the most that a question will cost, about."""
    characters = sum(len(turn.text) for turn in question.turns)
    pictures = sum(len(turn.images) for turn in question.turns)
    return Estimate(characters // _CHARACTERS + _PICTURE * pictures, question.tokens + thoughts)


def _either(counted: int, estimated: int) -> int:
    return estimated if counted < 0 else counted


def _spent(limit: str, why: str) -> KaleidoError:
    return KaleidoError(
        limit,
        f"{why}: the limit is reached.",
        "Answers are kept: run again with a higher limit, and only the others are asked for.",
        code="budget",
    )

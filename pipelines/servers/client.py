"""The client: questions in, answers out, whatever the server does."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pipelines.core.backoff import jitter
from pipelines.core.errors import KaleidoError
from pipelines.core.fingerprint import fingerprint
from pipelines.core.seeds import derive
from pipelines.servers.abilities import LIMIT, THOUGHTS, adapt, disliked
from pipelines.servers.address import parse_address, read_key
from pipelines.servers.background import run
from pipelines.servers.cache import AnswerCache
from pipelines.servers.exchange import Broken, Response, exchange
from pipelines.servers.question import Question
from pipelines.servers.reply import Reply, Unanswered, message_of, read_reply
from pipelines.servers.spending import Spending
from pipelines.workspace.settings import ServerSettings

if TYPE_CHECKING:
    import httpx

BUSY = (408, 425, 429, 503, 529)
"""Statuses of a server that wants to be asked again later; they are never charged."""

REFUSES_ALL = (401, 402, 403, 404, 405, 407)
"""Statuses that every further question would get too: the key, the model or the path is wrong."""

GIVES_UP = 3
"""Times the concurrency: so many failures of the server in a row end the run."""

_POLL = 0.05


@dataclass(frozen=True)
class _Failure:
    """Why a request brought no answer.

    Attributes:
        unanswered: For the caller.
        again: Whether asking again may help.
        wait: Seconds for which a busy server wants to be left alone; None if it is not busy.
        dislikes: The part of the request without which the server may answer.
    """

    unanswered: Unanswered
    again: bool = False
    wait: float | None = None
    dislikes: str | None = None


class Client:
    """Asks one model on one server.

    Args:
        address: Of the server, see `parse_address`.
        model: The model's name there.
        settings: Time limits, concurrency and budget.
        cache: Folder of the answers, see `AnswerCache`.
        backoff: Longest pause before the first repetition, in seconds.

    Attributes:
        spending: What was spent so far.

    Raises:
        KaleidoError: If the address or the key cannot be used.
    """

    def __init__(
        self,
        address: str,
        model: str,
        settings: ServerSettings,
        cache: Path,
        backoff: float = 1.0,
    ) -> None:
        self.address, self.model = parse_address(address), model
        self.spending = Spending(settings)
        self._settings, self._backoff = settings, backoff
        self._key = read_key(self.address, settings.key_variable)
        self._cache = AnswerCache(cache)
        self._without: frozenset[str] = frozenset()  # what the server does not take
        self._failures = 0
        self._stop: KaleidoError | None = None
        self._ready = 0.0  # the time of the event loop from which on the server may be asked

    def ask(self, questions: Sequence[Question]) -> list[Reply | Unanswered]:
        """Ask questions, several at once, and return one result for each, in order.

        Equal questions are asked once, and those that the cache knows not at all. An answer that is
        to be kept is in the cache before it is returned.

        Raises:
            KaleidoError: If a limit is reached (``budget``), or no question can get an answer
                (``server``). The answers until then are in the cache.
        """
        keys = [fingerprint(self.model, question.identity) for question in questions]
        known = {key: self._cache.get(key) for key in keys}
        asked = {key: q for key, q in zip(keys, questions, strict=True) if known[key] is None}
        self.spending.cached += len(known) - len(asked)
        found: dict[str, Reply | Unanswered] = {}
        if asked:
            self._stop = None
            try:
                found = run(self._ask_all(asked))
            finally:
                self._cache.close()
            if self._stop is not None:
                raise self._stop
        return [known[key] or found[key] for key in keys]

    def note(self) -> str:
        """Say what was spent, and what the server did not take, on a part of a line."""
        refused = ", ".join(sorted(self._without))
        return self.spending.note() + (f"; the server takes no {refused}" if refused else "")

    def forget(self, questions: Sequence[Question]) -> None:
        """Let the cache forget the answers to questions: asked again, they may get better ones."""
        for question in questions:
            self._cache.forget(fingerprint(self.model, question.identity))
        self._cache.close()

    async def _ask_all(self, asked: dict[str, Question]) -> dict[str, Reply | Unanswered]:
        import httpx

        limits = self._settings
        slots = asyncio.Semaphore(limits.concurrency)
        async with httpx.AsyncClient(
            timeout=httpx.Timeout(limits.read_timeout, connect=limits.connect_timeout, pool=None),
            limits=httpx.Limits(max_connections=limits.concurrency),
            follow_redirects=False,  # a key must not travel to another host
            trust_env=False,  # nor through a proxy, nor be replaced by one of ~/.netrc
        ) as http:

            async def one(key: str, question: Question) -> Reply | Unanswered:
                async with slots:
                    return await self._ask_until_answered(http, key, question)

            results = await asyncio.gather(*(one(*item) for item in asked.items()))
        return dict(zip(asked, results, strict=True))

    async def _ask_until_answered(
        self, http: httpx.AsyncClient, key: str, question: Question
    ) -> Reply | Unanswered:
        """Ask a question, again where that may help, and keep its answer."""
        attempt, busy, waited = 0, 0, 0.0
        without = self._without
        last = Unanswered("the run has stopped before it was asked.", server=True)
        while self._stop is None:
            result = await self._ask_once(http, key, question, without)
            if isinstance(result, Reply):
                self._failures = 0
                self._without |= without
                return result
            if self._stop is not None:
                break
            last, again, wait = result.unanswered, result.again, result.wait
            if result.dislikes is not None:
                without |= {result.dislikes}
                continue
            share = derive(os.getpid(), "back-off", f"{key}/{attempt}/{busy}") / 2**63
            if wait is not None:
                pause = wait + jitter(busy, self._backoff, share)
                busy, waited = busy + 1, waited + pause
                again = waited <= self._settings.patience
            else:
                pause = jitter(attempt, self._backoff, share)
                attempt += 1
                again = again and attempt <= self._settings.retries
            if not again:
                self._count_failure(last)
                break
            await asyncio.sleep(pause)
        return last

    async def _ask_once(
        self, http: httpx.AsyncClient, key: str, question: Question, without: frozenset[str]
    ) -> Reply | _Failure:
        ticket = await self._reserve(question, THOUGHTS if LIMIT in without else 0)
        if ticket is None:
            return _Failure(Unanswered("the run has stopped before it was asked."))
        reply, charged = None, True
        try:
            sent = fingerprint(key, sorted(without)) if without else key  # another body
            headers = {"Accept-Encoding": "identity", "Idempotency-Key": sent}
            if self._key:
                headers["Authorization"] = f"Bearer {self._key}"
            url = f"{self.address}/chat/completions"
            body = adapt(question.as_json(self.model), without)
            came = await exchange(http, url, body, headers, self._settings.total_timeout)
            if isinstance(came, Broken):
                charged = came.charged
                return _Failure(Unanswered(f"{came.why}.", server=True), came.again)
            charged = came.status == 200
            if came.status != 200:
                return self._judge(came, body)
            read = read_reply(came.body, self.model)
            if isinstance(read, Unanswered):
                return _Failure(read)
            reply = read
            self._cache.put(key, reply)
            return reply
        finally:
            self.spending.settle(ticket, reply, charged)

    async def _reserve(self, question: Question, thoughts: int) -> int | None:
        """Wait until the server may be asked and the budget allows it; None if neither will be."""
        clock = asyncio.get_running_loop().time
        while self._stop is None:
            if (pause := self._ready - clock()) > 0:
                await asyncio.sleep(pause)
                continue
            try:
                ticket = self.spending.reserve(question, thoughts)
            except KaleidoError as error:
                self._stop = error
                return None
            if ticket is not None:
                return ticket
            await asyncio.sleep(_POLL)
        return None

    def _judge(self, came: Response, sent: Collection[str]) -> _Failure:
        """Decide what an error of the server means for its question, and for the run."""
        refusal = self._refusal(came)
        if came.status in BUSY and b"insufficient_quota" not in came.body:
            self.spending.waits += 1
            wait = min(came.wait or 0.0, self._settings.patience)
            self._ready = max(self._ready, asyncio.get_running_loop().time() + wait)  # for all
            return _Failure(refusal, True, wait)
        if part := disliked(came, sent):
            return _Failure(refusal, dislikes=part)
        if came.status >= 500:
            return _Failure(refusal, True)
        if came.status in (*REFUSES_ALL, *BUSY):
            self._stop = self._error(refusal.why, "Check the address, the model and the key.")
        elif 300 <= came.status < 400:
            why = "it redirects to another address, which is not followed."
            self._stop = self._error(why, "Give the address that answers itself.")
        return _Failure(refusal)

    def _refusal(self, came: Response) -> Unanswered:
        said = message_of(came.body)
        said = said.replace(self._key, "…") if self._key else said
        why = f"the server answers with status {came.status}" + (f": {said}" if said else ".")
        return Unanswered(why, server=came.status >= 500 or came.status in BUSY)

    def _count_failure(self, last: Unanswered) -> None:
        """Count failures of the server in a row; too many end the run."""
        self._failures = self._failures + 1 if last.server else 0
        if self._failures >= GIVES_UP * self._settings.concurrency and self._stop is None:
            hint = "Answers are kept: run again when it answers, and only the others are asked for."
            self._stop = self._error(
                f"{self._failures} questions in a row got no answer ({last.why.rstrip('.')}).", hint
            )

    def _error(self, why: str, hint: str) -> KaleidoError:
        return KaleidoError(self.address, why, hint, code="server")

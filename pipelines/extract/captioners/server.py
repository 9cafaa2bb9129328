"""A model behind a server that describes pictures, or writes from the caption alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from pipelines.core.fingerprint import fingerprint
from pipelines.core.record import Record
from pipelines.core.seeds import derive
from pipelines.core.stage import Failed
from pipelines.documents.part import MAX_TEXT
from pipelines.documents.problems import errors_of
from pipelines.documents.reading import check_document
from pipelines.documents.strict_json import dump, parse
from pipelines.extract.captioners.base import MAX_TOKENS, Answer, DescriberRef, Wording
from pipelines.extract.captioners.prompts import split_prompts
from pipelines.servers.access import Access
from pipelines.servers.question import Question, Turn, ask_about, refer
from pipelines.servers.reply import Reply, Unanswered
from pipelines.servers.structured import Complaint, ask_until_usable

SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"description": {"type": "string", "maxLength": MAX_TEXT}},
    "required": ["description"],
    "additionalProperties": False,
}
"""The part of the z document that a description is."""


@dataclass(frozen=True)
class ServerRef(DescriberRef):
    """A describer on a server.

    Attributes:
        access: How to reach it.
        structured: Whether it answers with JSON of `SCHEMA`.
        count: How often each prompt is asked, each time with other draws.
    """

    access: Access
    structured: bool
    count: int = 1


def server_describer(access: Access, sees: bool, structured: bool, count: int = 1) -> ServerRef:
    """Choose a describer on a server; its identity is the model's name, not the address.

    Args:
        access: How to reach it.
        sees: Whether the pictures are sent.
        structured: Whether it shall answer with JSON.
        count: How often each prompt is asked.
    """
    identity = fingerprint("server", access.model, sees, structured)
    return ServerRef(access.model, "server", identity, None, sees, access, structured, count)


class _Chat(NamedTuple):
    """A chat about a record that shall end in a description.

    Attributes:
        record: The record.
        stages: The questions.
        seed: Seeds the answers, if words are drawn.
    """

    record: Record
    stages: tuple[str, ...]
    seed: int


class ServerDescriber:
    """Asks a server about records.

    Args:
        ref: The model.
        prompt: One or several prompts, see `split_prompts`, with ``{caption}`` where the caption is
            meant.
        wording: How words are chosen.

    Attributes:
        weights: Of the descriptions of a record: each prompt's, `ServerRef.count` times.

    Raises:
        KaleidoError: If the server's key or the prompt cannot be used.
    """

    def __init__(self, ref: ServerRef, prompt: str, wording: Wording) -> None:
        self._ref, self._wording = ref, wording
        self._client = ref.access.connect()
        self._prompts = split_prompts(prompt)
        self.weights = [each.weight for each in self._prompts for _ in range(ref.count)]

    def describe_all(self, records: Sequence[Record]) -> list[list[Answer | Failed]]:
        """Describe records.

        Returns:
            Of each record one answer for each of `weights`; a failure where the server has none.
        """
        chats = [chat for record in records for chat in self._chats(record)]
        turns = {number: self._first(chat) for number, chat in enumerate(chats)}
        results: dict[int, Answer | Failed] = {}
        for stage in range(max(len(prompt.stages) for prompt in self._prompts)):
            self._ask(stage, chats, turns, results)
        each = len(self.weights)
        answers = [results[number] for number in range(len(chats))]
        return [answers[at : at + each] for at in range(0, len(answers), each)]

    def note(self) -> str:
        """Say what was asked and spent so far."""
        return self._client.spending.note()

    def _ask(
        self,
        stage: int,
        chats: Sequence[_Chat],
        turns: dict[int, tuple[Turn, ...]],
        results: dict[int, Answer | Failed],
    ) -> None:
        """Ask the questions of a stage in all chats that have not ended."""
        open_chats = list(turns)
        ending = [stage == len(chats[number].stages) - 1 for number in open_chats]
        if stage:
            for number in open_chats:
                turns[number] += (Turn("user", refer(chats[number].stages[stage])),)
        questions = [
            self._question(chats[number], turns[number], is_last)
            for number, is_last in zip(open_chats, ending, strict=True)
        ]

        def read(place: int, reply: Reply) -> Answer | Complaint:
            structured = ending[place] and self._ref.structured
            return _read_json(reply) if structured else _read_text(reply)

        replies = ask_until_usable(self._client, questions, read)
        for number, is_last, reply in zip(open_chats, ending, replies, strict=True):
            if isinstance(reply, Unanswered) or is_last:
                results[number] = Failed(reply.why) if isinstance(reply, Unanswered) else reply
                del turns[number]
            else:
                turns[number] += (Turn("assistant", reply.text),)

    def _chats(self, record: Record) -> list[_Chat]:
        """Return the chats about a record, in the order of `weights`."""
        found = []
        for prompt in self._prompts:
            for copy in range(self._ref.count):
                # The first of several is the one that is asked for where one is wanted.
                key = f"{record.key}/{copy}" if copy else record.key
                seed = derive(self._wording.seed, "description", key)
                found.append(_Chat(record, prompt.stages, seed))
        return found

    def _first(self, chat: _Chat) -> tuple[Turn, ...]:
        mentions = any("{caption}" in stage for stage in chat.stages)
        data = {"caption": chat.record.caption} if mentions else {}
        images = (chat.record.image,) if self._ref.sees else ()
        return ask_about(refer(chat.stages[0]), data, images)

    def _question(self, chat: _Chat, turns: tuple[Turn, ...], is_last: bool) -> Question:
        temperature = self._wording.temperature
        seed = chat.seed if temperature else 0
        question = Question(turns, MAX_TOKENS, temperature, seed)
        return replace(question, schema=SCHEMA) if is_last and self._ref.structured else question


def _read_text(reply: Reply) -> Answer:
    # A refusal is no reason to ask again: `accept` names it.
    return Answer(reply.text or "I'm sorry (the server refused)" * reply.refused, reply.cut)


def _read_json(reply: Reply) -> Answer | Complaint:
    """Read an answer as the part of a z document that it shall be."""
    if reply.refused or reply.cut:
        return _read_text(reply)
    value, problems = parse(reply.text)
    if problems or not isinstance(value, dict) or value.keys() != {"description"}:
        return Complaint('The answer is not JSON of the form {"description": "…"}.')
    document, problems = check_document(dump({"format": "kaleido.z", "version": 1, **value}))
    if document is None:
        return Complaint(str(errors_of(problems)[0]))
    return Answer(document.description or "")

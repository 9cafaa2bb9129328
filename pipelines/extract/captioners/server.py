"""A model behind a server that describes pictures, or writes from the caption alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from pipelines.core.fingerprint import fingerprint
from pipelines.core.record import Record
from pipelines.core.seeds import derive
from pipelines.core.stage import Failed
from pipelines.documents.part import MAX_TEXT
from pipelines.documents.problems import errors_of
from pipelines.documents.reading import check_document
from pipelines.documents.strict_json import dump, parse
from pipelines.extract.captioners.base import MAX_TOKENS, Answer, DescriberRef, Wording
from pipelines.servers.access import Access
from pipelines.servers.question import Question, Turn, ask_about, refer
from pipelines.servers.reply import Reply, Unanswered
from pipelines.servers.structured import Complaint, ask_until_usable

NEXT_STAGE = "---"
"""A line of a prompt that ends one question and begins the next of the same chat."""

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
    """

    access: Access
    structured: bool


def server_describer(access: Access, sees: bool, structured: bool) -> ServerRef:
    """Choose a describer on a server; its identity is the model's name, not the address.

    Args:
        access: How to reach it.
        sees: Whether the pictures are sent.
        structured: Whether it shall answer with JSON.
    """
    identity = fingerprint("server", access.model, sees, structured)
    return ServerRef(access.model, "server", identity, None, sees, access, structured)


class ServerDescriber:
    """Asks a server about records.

    Args:
        ref: The model.
        prompt: The question, with ``{caption}`` where the caption is meant; lines of `NEXT_STAGE`
            divide it into questions that follow each other, the last of which asks for the text.
        wording: How words are chosen.

    Raises:
        KaleidoError: If the server's key cannot be used.
    """

    def __init__(self, ref: ServerRef, prompt: str, wording: Wording) -> None:
        self._ref, self._wording = ref, wording
        self._client = ref.access.connect()
        self._stages = split_stages(prompt)

    def describe(self, records: Sequence[Record]) -> list[Answer | Failed]:
        """Describe records, see `Describer`; a record without an answer has failed."""
        chats: dict[int, tuple[Turn, ...]] = {
            number: self._first(record) for number, record in enumerate(records)
        }
        results: dict[int, Answer | Failed] = {}
        for stage, prompt in enumerate(self._stages):
            is_last = stage == len(self._stages) - 1
            if stage:
                turn = Turn("user", refer(prompt))
                chats = {number: (*turns, turn) for number, turns in chats.items()}
            questions = [self._question(records[n], chats[n], is_last) for n in chats]
            read = _read_json if is_last and self._ref.structured else _read_text
            replies = ask_until_usable(self._client, questions, read)
            for number, reply in zip(list(chats), replies, strict=True):
                if isinstance(reply, Unanswered):
                    results[number] = Failed(reply.why)
                    del chats[number]
                elif is_last:
                    results[number] = reply
                else:
                    chats[number] = (*chats[number], Turn("assistant", reply.text))
        return [results[number] for number in range(len(records))]

    def note(self) -> str:
        """Say what was asked and spent so far."""
        return self._client.spending.note()

    def _first(self, record: Record) -> tuple[Turn, ...]:
        prompt = self._stages[0]
        mentions = any("{caption}" in stage for stage in self._stages)
        data = {"caption": record.caption} if mentions else {}
        return ask_about(refer(prompt), data, (record.image,) if self._ref.sees else ())

    def _question(self, record: Record, turns: tuple[Turn, ...], is_last: bool) -> Question:
        temperature = self._wording.temperature
        seed = derive(self._wording.seed, "description", record.key) if temperature else 0
        question = Question(turns, MAX_TOKENS, temperature, seed)
        return replace(question, schema=SCHEMA) if is_last and self._ref.structured else question


def split_stages(prompt: str) -> list[str]:
    """Divide a prompt at the lines of `NEXT_STAGE`."""
    stages: list[list[str]] = [[]]
    for line in prompt.splitlines():
        if line.strip() == NEXT_STAGE:
            stages.append([])
        else:
            stages[-1].append(line)
    return [text for stage in stages if (text := "\n".join(stage).strip())]


def _read_text(number: int, reply: Reply) -> Answer | Complaint:
    # A refusal is no reason to ask again: `accept` names it.
    return Answer(reply.text or "I'm sorry (the server refused)" * reply.refused, reply.cut)


def _read_json(number: int, reply: Reply) -> Answer | Complaint:
    """Read an answer as the part of a z document that it shall be."""
    if reply.refused or reply.cut:
        return _read_text(number, reply)
    value, problems = parse(reply.text)
    if problems or not isinstance(value, dict) or value.keys() != {"description"}:
        return Complaint('The answer is not JSON of the form {"description": "…"}.')
    document, problems = check_document(dump({"format": "kaleido.z", "version": 1, **value}))
    if document is None:
        return Complaint(str(errors_of(problems)[0]))
    return Answer(document.description or "")

"""Language models of transformers that write a description from the caption alone."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from pipelines.core.batches import in_batches
from pipelines.core.errors import BadRecord, KaleidoError
from pipelines.core.record import Record
from pipelines.extract.captioners.base import (
    LIKELIEST,
    MAX_TOKENS,
    Answer,
    Wording,
    fill_prompt,
)
from pipelines.extract.captioners.chat import ROWS, ChatModel, fill, width_of


class Expander:
    """Writes descriptions from captions.

    Args:
        path: See `ChatModel`.
        prompt: The question, with ``{caption}`` where the caption belongs.
        wording: How words are chosen.

    Raises:
        KaleidoError: If there is no such model, or the prompt has no place for the caption.
    """

    def __init__(self, path: Path, prompt: str, wording: Wording = LIKELIEST) -> None:
        if "{caption}" not in prompt:
            raise KaleidoError(
                "--prompt",
                "a model that sees no picture needs the caption.",
                "Write {caption} where it belongs.",
                code="bad-option",
            )
        self._prompt, self._wording = prompt, wording
        self._model = ChatModel(path)

    def describe(self, records: Sequence[Record]) -> list[Answer]:
        """Describe records by their captions, see `Describer`."""
        by_width: dict[int, list[tuple[Record, list[int]]]] = defaultdict(list)
        for record in records:
            ids = self._ask(record)
            by_width[width_of(ids)].append((record, ids))
        answers: dict[str, Answer] = {}
        for asked in by_width.values():
            for group in in_batches(asked, ROWS):
                keys = [record.key for record, _ in group]
                questions = [ids for _, ids in group]
                processors = self._wording.processors(fill(keys))
                written = self._model.write(questions, MAX_TOKENS, processors)
                answers |= zip(keys, written, strict=True)
        return [answers[record.key] for record in records]

    def _ask(self, record: Record) -> list[int]:
        """Token ids of the question about a record."""
        marks = self._model.tokenizer.all_special_tokens
        ids = self._model.encode(fill_prompt(self._prompt, record.caption, marks))
        if (most := self._model.room(ids, MAX_TOKENS)) is not None:
            why = f"its question of {len(ids)} tokens is too long for a model of {most}."
            raise BadRecord(record.key, why)
        return ids

"""A language model on this machine that can write nothing but JSON of a schema.

llguidance computes, after every token, which tokens may follow in a text of the schema; all others
get no probability. So a model of any quality writes valid plans.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipelines.core.batches import in_batches
from pipelines.core.extras import import_extra
from pipelines.extract.captioners.base import Wording
from pipelines.extract.captioners.chat import ROWS, ChatModel, fill, width_of
from pipelines.servers.question import Question
from pipelines.servers.reply import Reply, Unanswered

if TYPE_CHECKING:
    import torch


class LocalWriter:
    """Answers questions, see `pipelines.plan.planners.language.Writer`.

    Args:
        path: The model, see `ChatModel`.

    Raises:
        KaleidoError: If there is no such model, or llguidance is not installed.
    """

    def __init__(self, path: Path) -> None:
        guidance = import_extra("llguidance", "plans")
        self._matcher = guidance.LLMatcher
        self._model = ChatModel(path)
        from_tokenizer = import_extra("llguidance.hf", "plans").from_tokenizer
        self._tokens = from_tokenizer(self._model.tokenizer, n_vocab=self._model.vocabulary)

    def ask(self, questions: Sequence[Question]) -> list[Reply | Unanswered]:
        """Answer questions; an answer does not depend on the others."""
        found: dict[int, Reply | Unanswered] = {}
        alike: dict[tuple[int, int], list[tuple[int, list[int]]]] = defaultdict(list)
        for number, question in enumerate(questions):
            ids = self._encode(question)
            if (most := self._model.room(ids, question.tokens)) is not None:
                why = f"question and answer have more tokens than the model's {most} positions."
                found[number] = Unanswered(why)
            else:
                alike[width_of(ids), question.tokens].append((number, ids))
        for (_, tokens), group in alike.items():
            for part in in_batches(group, ROWS):
                asked = [questions[number] for number, _ in part]
                written = self._model.write([ids for _, ids in part], tokens, self._rules(asked))
                for (number, _), answer in zip(part, written, strict=True):
                    found[number] = Reply(answer.text, answer.cut)
        return [found[number] for number in range(len(questions))]

    def forget(self, questions: Sequence[Question]) -> None:
        """Do nothing: answers are not kept."""

    def _encode(self, question: Question) -> list[int]:
        """Write the turns as one message; not every chat template knows the role of a system."""
        marks = self._model.tokenizer.all_special_tokens
        text = "\n\n".join(turn.text for turn in question.turns)
        for mark in marks:
            text = text.replace(mark, " ")
        return self._model.encode(text)

    def _rules(self, questions: Sequence[Question]) -> list[Any]:
        """Return the rules of a batch: first what may follow, then which of it is drawn."""
        rows: list[Question] = fill(questions)
        matchers = [self._match(question.schema) for question in rows]
        processors: list[Any] = [_Guide(matchers)]
        wording = Wording(rows[0].temperature, 0)
        return processors + wording.processors([question.identity for question in rows])

    def _match(self, schema: Mapping[str, Any] | None) -> Any:
        if schema is None:
            return None
        # White space between tokens would let a model write nothing else.
        grammar = self._matcher.grammar_from_json_schema(
            json.dumps(schema), defaults={"whitespace_flexible": False}
        )
        matcher = self._matcher(self._tokens, grammar)
        if matcher.is_error():
            raise ValueError(f"llguidance refuses the schema: {matcher.get_error()}")
        return matcher


class _Guide:
    """Takes the probability of every token that cannot follow, row by row.

    Args:
        matchers: One a row; None leaves its row alone. After a whole text, one that has stopped
            allows the token that ends an answer.
    """

    def __init__(self, matchers: Sequence[Any]) -> None:
        self._matchers, self._length = matchers, 0

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """Return the scores (rows, vocabulary) with -inf for what cannot follow."""
        import numpy as np
        import torch

        last = input_ids[:, -1].tolist() if self._length else None
        self._length = input_ids.shape[1]
        allowed = np.ones(tuple(scores.shape), bool)
        for row, matcher in enumerate(self._matchers):
            if matcher is None:
                continue
            if last is not None and not matcher.is_stopped():
                matcher.consume_token(last[row])
            bits = np.frombuffer(matcher.compute_bitmask(), np.uint8)
            allowed[row] = np.unpackbits(bits, bitorder="little")[: scores.shape[1]]
        return scores.masked_fill(~torch.from_numpy(allowed).to(scores.device), -torch.inf)

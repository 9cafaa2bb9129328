"""The interface of models that write descriptions, and what all of them share."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from pipelines.core.record import Record
from pipelines.core.seeds import generator
from pipelines.core.stage import Failed
from pipelines.extract.model_ref import ModelRef

if TYPE_CHECKING:
    import torch

MAX_TOKENS = 200
"""Longest answer, about 130 English words."""


class Answer(NamedTuple):
    """A model's answer about a record, and whether it was cut off after `MAX_TOKENS`."""

    text: str
    cut: bool = False


class Describer(Protocol):
    """A loaded model that writes descriptions, or a client of a server."""

    def describe(self, records: Sequence[Record]) -> Sequence[Answer | Failed]:
        """Describe records, one answer each, which depends on its own record only.

        A record for which a server has no answer has failed.

        Raises:
            BadRecord: If a record's caption is too long for the model.
        """
        ...


@dataclass(frozen=True)
class Wording:
    """How words are chosen.

    Attributes:
        temperature: 0 takes the likeliest word; above 0, words are drawn at this temperature.
        seed: Seeds the draws, together with each record's key.
    """

    temperature: float = 0.0
    seed: int = 0

    @property
    def options(self) -> dict[str, Any]:
        """The settings that answers depend on, as JSON values."""
        return {"temperature": self.temperature, "seed": self.seed} if self.temperature else {}

    def processors(self, keys: Sequence[str]) -> list[Any]:
        """Return the ``logits_processor`` argument of ``generate`` for a batch of records."""
        return [_Draw(self, keys)] if self.temperature else []


LIKELIEST = Wording()


@dataclass(frozen=True)
class DescriberRef(ModelRef):
    """A describer that is chosen but not loaded.

    Its identity covers everything that its answers depend on but the prompt and the wording.

    Attributes:
        sees: Whether it sees the picture; if not, its default question is another one.
    """

    sees: bool


GENERATION: dict[str, Any] = {
    "do_sample": False,
    "num_beams": 1,
    "num_return_sequences": 1,
    "return_dict_in_generate": False,
    "penalty_alpha": None,
    "dola_layers": None,
    "prompt_lookup_num_tokens": None,
    "stop_strings": None,
    "max_time": None,
}
"""Arguments of transformers' ``generate`` that override a folder's ``generation_config.json``.

With several sequences or beams per question the rows would no longer belong to their records, and
some other modes would fetch code from the hub.
"""


class _Draw:
    """Adds Gumbel noise to the scores: their argmax is then a draw from the softmax.

    Each row has its own random numbers, so a draw does not depend on the batch.
    """

    def __init__(self, wording: Wording, keys: Sequence[str]) -> None:
        self._temperature = wording.temperature
        self._rngs = [generator(wording.seed, "description", key) for key in keys]

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """Return noisy scores (rows, vocabulary)."""
        import numpy as np
        import torch

        noise = np.stack([rng.gumbel(size=scores.shape[1]) for rng in self._rngs])
        return scores.double() / self._temperature + torch.from_numpy(noise).to(scores.device)


_REFUSALS = re.compile(
    r"\s*(i['’]?m sorry|i am sorry|sorry,|i can(no|['’])t|i am unable|i['’]?m unable|as an ai"
    r"|as a language)",
    re.IGNORECASE,
)


def refuses(answer: str) -> bool:
    """Return whether a model's answer is a refusal."""
    return _REFUSALS.match(answer) is not None


def fill_prompt(prompt: str, caption: str, marks: Iterable[str]) -> str:
    """Put a caption into a prompt, as data.

    Args:
        prompt: With ``{caption}`` where the caption belongs, between double quotes.
        caption: Its white space becomes single spaces and its double quotes single ones, so that
            it cannot end the quotation.
        marks: Special tokens, which it may not hold: one could end the user's turn.
    """
    for mark in marks:
        caption = caption.replace(mark, " ")
    return prompt.replace("{caption}", " ".join(caption.replace('"', "'").split()))


def read_answers(
    model: Any, tokenizer: Any, rows: torch.Tensor, keep_marks: bool = False
) -> list[Answer]:
    """Decode answers up to the token that ends them.

    Args:
        model: The model of transformers; it and its tokenizer name the tokens that end an answer.
        tokenizer: The matching tokenizer.
        rows: Token ids (n, length), without the question.
        keep_marks: Keep special tokens in the texts.
    """
    named = model.generation_config.eos_token_id
    marks = (tokenizer.eos_token_id, tokenizer.sep_token_id, tokenizer.pad_token_id)
    ends = {*marks, *(named if isinstance(named, list) else [named])} - {None}
    answers = []
    for ids in rows.tolist():
        # The first may be the mark that some decoders start from.
        end = next((place for place, token in enumerate(ids) if place and token in ends), None)
        text: str = tokenizer.decode(ids[:end], skip_special_tokens=not keep_marks)
        answers.append(Answer(text, end is None))
    return answers

"""What models that write descriptions have in common, whether they see the picture or not."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from pipelines.core.record import Record
from pipelines.core.seeds import generator

if TYPE_CHECKING:
    import torch

MAX_TOKENS = 200
"""Of an answer: about 130 English words."""


class Answer(NamedTuple):
    """What a model said of a record, and whether it was cut off after `MAX_TOKENS`."""

    text: str
    cut: bool = False


class Describer(Protocol):
    """A loaded model that writes descriptions; a client of a caption server can be one as well."""

    def describe(self, records: Sequence[Record]) -> list[Answer]:
        """Describe records, one answer each; an answer depends on its own record only.

        Raises:
            BadRecord: If a record's caption is too long for the model.
        """
        ...


@dataclass(frozen=True)
class Wording:
    """How words are chosen.

    Attributes:
        temperature: 0 takes the likeliest word; above, words are drawn, the more freely the larger.
        seed: Source of the draws, together with each record's key.
    """

    temperature: float = 0.0
    seed: int = 0

    @property
    def options(self) -> dict[str, Any]:
        """What the answers depend on, as JSON values."""
        return {"temperature": self.temperature, "seed": self.seed} if self.temperature else {}

    def processors(self, keys: Sequence[str]) -> list[Any]:
        """What transformers' ``generate`` takes as ``logits_processor``, for records in a batch."""
        return [_Draw(self, keys)] if self.temperature else []


LIKELIEST = Wording()


@dataclass(frozen=True)
class DescriberModel(ABC):
    """A describer that is chosen but not loaded; it can be sent to another process.

    Attributes:
        name: Its folder or file, or what it is called.
        family: Its kind of describer, part of the name of the stage that uses it.
        identity: Hash or version of everything that its answers depend on, beside prompt and words.
        sees: Whether it sees the picture; if not, it is asked another question by default.
    """

    name: str
    family: str
    identity: str
    sees: bool

    @abstractmethod
    def load(self, prompt: str, wording: Wording) -> Describer:
        """Load the weights.

        Args:
            prompt: Question, with ``{caption}`` where the caption belongs.
            wording: How words are chosen.

        Raises:
            KaleidoError: If a library is missing, or there is no such model.
        """


class _Draw:
    """Adds Gumbel noise to the scores, so that the greatest of them is a draw from the softmax.

    Each row has random numbers of its own, so a draw does not depend on the batch.
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


def read_answers(model: Any, tokenizer: Any, rows: torch.Tensor) -> list[Answer]:
    """Decode what a model has written.

    Args:
        model: The model of transformers; it and its tokenizer name the tokens that end an answer.
        tokenizer: The matching tokenizer.
        rows: Token ids (n, length) of the answers alone.
    """
    named = model.generation_config.eos_token_id
    marks = (tokenizer.eos_token_id, tokenizer.sep_token_id, tokenizer.pad_token_id)
    ends = {*marks, *(named if isinstance(named, list) else [named])} - {None}
    answers = []
    for ids in rows.tolist():
        # The first may be the mark that some decoders start from.
        end = next((place for place, token in enumerate(ids) if place and token in ends), None)
        text: str = tokenizer.decode(ids[:end], skip_special_tokens=True)
        answers.append(Answer(text, end is None))
    return answers

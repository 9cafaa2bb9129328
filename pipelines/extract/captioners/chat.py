"""Causal language models of transformers that answer questions, in fixed batches."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pipelines.core.extras import import_extra
from pipelines.extract.captioners.base import GENERATION, Answer, read_answers
from pipelines.models.chat_template import fill_chat
from pipelines.models.hub import GGUF, load_model

ROWS = 8
"""Rows per batch, always: matrix products of another height round differently, and one different
word changes all that follow. Missing rows repeat the last one."""

STEP = 64
"""Questions are padded to a multiple of this many tokens, for the same reason: the width of a row
must not depend on the others."""


class ChatModel:
    """A causal language model with its tokenizer; no code of its own is run.

    A model with a chat template is asked in a chat; another continues the question.

    Args:
        path: The folder of both, as ``save_pretrained`` writes it, or a GGUF file.

    Attributes:
        tokenizer: The tokenizer.
        network: The model.
        vocabulary: Number of tokens that it scores.

    Raises:
        KaleidoError: If there is no such model, or a package is missing.
    """

    def __init__(self, path: Path) -> None:
        if path.suffix == GGUF:
            import_extra("gguf", "gguf")
        loaded = load_model(
            path,
            "AutoTokenizer",
            "AutoModelForCausalLM",
            "model",
            "It needs to be a causal language model (Llama, Qwen, SmolLM …), with its tokenizer.",
            gpu_dtype="bfloat16",
        )
        self.tokenizer, self.network, self._device = loaded.processor, loaded.network, loaded.device
        if self.tokenizer.pad_token is None:
            self.tokenizer.pad_token = self.tokenizer.eos_token
        self.vocabulary: int = self.network.config.vocab_size

    def encode(self, text: str) -> list[int]:
        """Return the token ids of a question; special tokens in it would be read as such."""
        if self.tokenizer.chat_template is None:
            ids: list[int] = self.tokenizer(f"{text}\n\n").input_ids
            return ids
        chat: list[int] = fill_chat(
            self.tokenizer,
            [{"role": "user", "content": text}],
            add_generation_prompt=True,
            return_dict=False,
            enable_thinking=False,
        )
        return chat

    def room(self, question: Sequence[int], tokens: int) -> int | None:
        """Return the model's number of positions if question and answer do not fit, else None.

        Args:
            question: Token ids.
            tokens: Longest answer.
        """
        most: int | None = getattr(self.network.config, "max_position_embeddings", None)
        return most if most is not None and len(question) + tokens > most else None

    def write(
        self, questions: Sequence[Sequence[int]], tokens: int, processors: Sequence[Any]
    ) -> list[Answer]:
        """Answer questions, one batch.

        Args:
            questions: Token ids of 1 to `ROWS` questions; rows are of one width, see `width_of`.
            tokens: Longest answer.
            processors: The ``logits_processor`` of ``generate``, for `ROWS` rows.
        """
        import torch

        width = max(map(width_of, questions))
        rows = [list(each) for each in fill(questions)]
        padding = self.tokenizer.pad_token_id
        ids = torch.tensor([[padding] * (width - len(row)) + row for row in rows])
        mask = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in rows])
        with torch.inference_mode():
            written = self.network.generate(
                input_ids=ids.to(self._device),
                attention_mask=mask.to(self._device),
                max_new_tokens=tokens,
                **GENERATION,
                pad_token_id=padding,
                logits_processor=list(processors),
            )
        return read_answers(self.network, self.tokenizer, written[: len(questions), width:])


def width_of(question: Sequence[int]) -> int:
    """Return the width in tokens to which a question is padded."""
    return -(-len(question) // STEP) * STEP


def fill(rows: Sequence[Any]) -> list[Any]:
    """Repeat the last of at least one row, to `ROWS` rows."""
    return [*rows, *[rows[-1]] * (ROWS - len(rows))]

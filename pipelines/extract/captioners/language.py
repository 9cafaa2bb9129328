"""Language models of transformers that write a description from the caption alone."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from pipelines.core.batches import in_batches
from pipelines.core.errors import BadRecord, KaleidoError
from pipelines.core.extras import import_extra
from pipelines.core.record import Record
from pipelines.extract.captioners.base import (
    GENERATION,
    LIKELIEST,
    MAX_TOKENS,
    Answer,
    Wording,
    fill_prompt,
    read_answers,
)
from pipelines.models.chat_template import fill_chat
from pipelines.models.hub import GGUF, load_model

ROWS = 8
"""Rows per batch, always: matrix products of another height round differently, and one different
word changes all that follow. Missing rows repeat the last one."""

STEP = 64
"""Questions are padded to a multiple of this many tokens, for the same reason: the width of a row
must not depend on the others."""


class Expander:
    """A causal language model with its tokenizer; no code of its own is run.

    A model with a chat template is asked in a chat; another continues the prompt.

    Args:
        path: The folder of both, as ``save_pretrained`` writes it, or a GGUF file.
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
        self._tokenizer, self._model = loaded.processor, loaded.network
        self._device = loaded.device
        if self._tokenizer.pad_token is None:
            self._tokenizer.pad_token = self._tokenizer.eos_token

    def describe(self, records: Sequence[Record]) -> list[Answer]:
        """Describe records by their captions, see `Describer`."""
        by_width: dict[int, list[tuple[Record, list[int]]]] = defaultdict(list)
        for record in records:
            ids = self._ask(record)
            by_width[-(-len(ids) // STEP) * STEP].append((record, ids))
        answers: dict[str, Answer] = {}
        for width, asked in by_width.items():
            for group in in_batches(asked, ROWS):
                keys = [record.key for record, _ in group]
                questions = [ids for _, ids in group]
                answers |= zip(keys, self._answer(keys, questions, width), strict=True)
        return [answers[record.key] for record in records]

    def _ask(self, record: Record) -> list[int]:
        """Token ids of the question about a record."""
        tokenizer = self._tokenizer
        text = fill_prompt(self._prompt, record.caption, tokenizer.all_special_tokens)
        if tokenizer.chat_template is None:
            ids: list[int] = tokenizer(f"{text}\n\n").input_ids
        else:
            ids = fill_chat(
                tokenizer,
                [{"role": "user", "content": text}],
                add_generation_prompt=True,
                return_dict=False,
                enable_thinking=False,
            )
        most = getattr(self._model.config, "max_position_embeddings", None)
        if most is not None and len(ids) + MAX_TOKENS > most:
            why = f"its question of {len(ids)} tokens is too long for a model of {most}."
            raise BadRecord(record.key, why)
        return ids

    def _answer(
        self, keys: Sequence[str], questions: Sequence[list[int]], width: int
    ) -> list[Answer]:
        import torch

        missing = ROWS - len(questions)
        rows = [*questions, *[questions[-1]] * missing]
        padding = self._tokenizer.pad_token_id
        ids = torch.tensor([[padding] * (width - len(row)) + row for row in rows])
        mask = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in rows])
        with torch.inference_mode():
            written = self._model.generate(
                input_ids=ids.to(self._device),
                attention_mask=mask.to(self._device),
                max_new_tokens=MAX_TOKENS,
                **GENERATION,
                pad_token_id=padding,
                logits_processor=self._wording.processors([*keys, *[keys[-1]] * missing]),
            )
        return read_answers(self._model, self._tokenizer, written[: len(questions), width:])

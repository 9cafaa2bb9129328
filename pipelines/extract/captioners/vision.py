"""Vision-language models of transformers, asked to describe pictures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

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
from pipelines.models.hub import load_model


class Recaptioner:
    """A model for image and text to text, with its processor; no code of its own is run.

    A model with a chat template gets the prompt; another, such as BLIP, gets the picture only.

    Args:
        folder: The folder of both, as ``save_pretrained`` writes it.
        prompt: The question, with ``{caption}`` where the caption belongs.
        wording: How words are chosen.

    Raises:
        KaleidoError: If the folder does not hold such a model.
    """

    def __init__(self, folder: Path, prompt: str, wording: Wording = LIKELIEST) -> None:
        self._prompt, self._wording = prompt, wording
        loaded = load_model(
            folder,
            "AutoProcessor",
            "AutoModelForImageTextToText",
            "model",
            "It needs to be one for image and text to text (BLIP, Qwen-VL, LLaVA …) with its "
            "processor, or a causal language model.",
            gpu_dtype="bfloat16",
        )
        self._processor, self._model, self._device = loaded.processor, loaded.network, loaded.device
        self._chats = getattr(self._processor, "chat_template", None) is not None
        tokenizer = self._processor.tokenizer
        marks = {*tokenizer.all_special_tokens, getattr(self._processor, "image_token", None)}
        self._marks = [mark for mark in marks if mark]
        # With padding on the left, all answers of a batch begin at the same position.
        tokenizer.padding_side = "left"

    def describe(self, records: Sequence[Record]) -> list[Answer]:
        """Describe the records' pictures, see `Describer`; captions are quoted as data."""
        import torch
        from PIL import Image

        pictures = [Image.fromarray(record.pixels) for record in records]
        captions = [record.caption for record in records]
        with torch.inference_mode():
            inputs = self._inputs(pictures, captions).to(self._device, self._model.dtype)
            written = self._model.generate(
                **inputs,
                max_new_tokens=MAX_TOKENS,
                **GENERATION,
                logits_processor=self._wording.processors([record.key for record in records]),
            )
        if self._chats:
            written = written[:, inputs["input_ids"].shape[1] :]
        return read_answers(self._model, self._processor.tokenizer, written)

    def _inputs(self, pictures: Sequence[Any], captions: Sequence[str]) -> Any:
        if not self._chats:
            return self._processor(images=list(pictures), return_tensors="pt")
        chats = [
            [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": question}]}]
            for question in map(self._ask, captions)
        ]
        questions = [fill_chat(self._processor, chat, add_generation_prompt=True) for chat in chats]
        return self._processor(
            images=[[picture] for picture in pictures],
            text=questions,
            padding=True,
            return_tensors="pt",
        )

    def _ask(self, caption: str) -> str:
        """Fill the prompt with a caption, which cannot end the user's turn or name a picture."""
        return fill_prompt(self._prompt, caption, self._marks)

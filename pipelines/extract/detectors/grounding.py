"""Vision-language models of transformers as detectors: they write boxes as text.

Each family writes coordinates in its own order and unit. The dialect of `pipelines.documents` that
bears the family's name reads them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pipelines.core.stage import Failed
from pipelines.documents.dialects.answers import ANSWERS, Answer
from pipelines.documents.dialects.base import Context
from pipelines.extract.captioners.base import GENERATION, fill_prompt, read_answers
from pipelines.extract.detectors.base import Detections, most_certain
from pipelines.models.chat_template import fill_chat
from pipelines.models.hub import load_model

PROMPTS = Path(__file__).parents[1] / "prompts"


@dataclass(frozen=True)
class Family:
    """How models of one family are asked.

    Attributes:
        dialect: Name of the dialect that reads their answers; the name of the family as well.
        chats: Whether they follow instructions in a chat. Others continue a fixed form of words.
        phrases: Whether they need the names of objects and cannot read a whole caption.
        separator: Between the names; empty to ask for each in a question of its own.
        tokens: Longest answer.
        end: A token that ends an answer, beside the usual ones.
        batch: Questions that are answered together.
    """

    dialect: str
    chats: bool = False
    phrases: bool = False
    separator: str = ", "
    tokens: int = 1024
    end: str = ""
    batch: int = 8

    @property
    def prompt(self) -> str:
        """The question, with ``{caption}`` where the caption or the names belong."""
        return (PROMPTS / f"grounding-{self.dialect}.txt").read_text("utf-8").strip()

    @property
    def identity(self) -> list[Any]:
        """Everything that answers depend on beside the model and what it is asked for."""
        return [self.dialect, self.prompt, self.separator, self.tokens]


MODEL_TYPES = {
    "qwen2_vl": Family("qwen2-vl", chats=True),
    "qwen2_5_vl": Family("qwen2.5-vl", chats=True),
    "qwen3_vl": Family("qwen3-vl", chats=True),
    "florence2": Family("florence-2", separator=". "),
    "paligemma": Family("paligemma", phrases=True, separator=" ; "),
    # transformers counts Kosmos-2's padding as positions from the second new token on, so its
    # questions are not padded.
    "kosmos-2": Family("kosmos-2", phrases=True, separator="", tokens=64, end="</object>", batch=1),
}
"""``model_type`` in ``config.json`` -> its family."""

FAMILIES = {family.dialect: family for family in MODEL_TYPES.values()}


@dataclass(frozen=True)
class _Answer:
    """An answer, with the size in pixels (width, height) of the picture as the model saw it."""

    text: str
    size: tuple[int, int]


class Grounder:
    """A vision-language model and its processor, loaded without running any code of their own.

    Args:
        folder: Both, as ``save_pretrained`` writes them.
        family: How it is asked.
        max_detections: The first ones are kept: such models give no scores, all are 1.
        phrases: Returns the objects to ask for, given a caption; None asks for those that the
            caption names, which is quoted.

    Raises:
        KaleidoError: If the folder does not hold such a model.
    """

    def __init__(
        self,
        folder: Path,
        family: Family,
        max_detections: int,
        phrases: Callable[[str], Sequence[str]] | None,
    ) -> None:
        self._family, self._max_detections, self._phrases = family, max_detections, phrases
        needs = "It needs config.json, model.safetensors and its processor."
        loaded = load_model(
            folder,
            "AutoProcessor",
            "AutoModelForImageTextToText",
            "detector",
            needs,
            gpu_dtype="bfloat16",
        )
        self._processor, self._model, self._device = loaded.processor, loaded.network, loaded.device
        self._prompt = family.prompt
        self._dialect = answers_of(family)
        tokenizer = self._processor.tokenizer
        # Special tokens have angle brackets in all families; a caption without them holds none.
        self._marks = [*tokenizer.all_special_tokens, "<", ">"]
        # A decoder continues its question, so padding comes first. An encoder with learned
        # positions would see its question at another place.
        encodes = self._model.config.is_encoder_decoder
        tokenizer.padding_side = "right" if encodes else "left"

    def predict(
        self, images: Sequence[np.ndarray], captions: Sequence[str]
    ) -> list[Detections | Failed]:
        """Find objects, see `DetectorBackend`; an answer without any readable box has failed."""
        import torch

        every = [self._questions(caption) for caption in captions]
        pairs = list(zip(images, every, strict=True))
        asked = [(image, question) for image, questions in pairs for question in questions]
        answers: list[_Answer] = []
        with torch.inference_mode():
            for start in range(0, len(asked), self._family.batch):
                part = asked[start : start + self._family.batch]
                answers += self._ask([each[0] for each in part], [each[1] for each in part])
        left = iter(answers)
        return [
            self._read([next(left) for _ in questions], image.shape) for image, questions in pairs
        ]

    def _questions(self, caption: str) -> list[str]:
        """Return what a picture is asked: nothing, if its caption names nothing."""
        wanted = [caption] if self._phrases is None else list(self._phrases(caption))
        if self._family.separator and self._phrases is not None:
            wanted = [self._family.separator.join(wanted)]
        return [fill_prompt(self._prompt, each, self._marks) for each in wanted if each.strip()]

    def _ask(self, images: Sequence[np.ndarray], questions: Sequence[str]) -> Iterator[_Answer]:
        inputs = self._inputs(images, questions).to(self._device, self._model.dtype)
        written = self._model.generate(
            **inputs, **GENERATION, **self._ends(), max_new_tokens=self._family.tokens
        )
        if not self._model.config.is_encoder_decoder:
            written = written[:, inputs["input_ids"].shape[1] :]
        texts = read_answers(self._model, self._processor.tokenizer, written, keep_marks=True)
        sizes = [image.shape[1::-1] for image in images]
        if "image_grid_thw" in inputs:
            # Patches of the resized picture; Qwen2.5-VL counts the pixels of that one.
            side = self._processor.image_processor.patch_size
            sizes = [(side * w, side * h) for _, h, w in inputs["image_grid_thw"].tolist()]
        # Kosmos-2 answers a phrase with its box alone.
        heads = questions if self._family.end else [""] * len(questions)
        for head, answer, size in zip(heads, texts, sizes, strict=True):
            yield _Answer(head + answer.text, size)

    def _inputs(self, images: Sequence[np.ndarray], questions: Sequence[str]) -> Any:
        if self._family.chats:
            chats = [
                [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": each}]}]
                for each in questions
            ]
            questions = [
                fill_chat(self._processor, chat, add_generation_prompt=True) for chat in chats
            ]
        elif self._family.dialect == "paligemma":
            questions = [self._processor.image_token + each for each in questions]
        pictures = [self._picture(image) for image in images]
        inputs = self._processor(images=pictures, text=list(questions), padding=True)
        inputs.pop("labels", None)  # PaliGemma's processor makes them for training
        return inputs.convert_to_tensors("pt")

    def _picture(self, image: np.ndarray) -> Any:
        """Stretch a picture to a square if the processor would cut off what lies outside one."""
        from PIL import Image

        picture = Image.fromarray(image)
        if getattr(self._processor.image_processor, "do_center_crop", None):
            picture = picture.resize((max(picture.size),) * 2, Image.Resampling.BICUBIC)
        return picture

    def _ends(self) -> dict[str, list[int]]:
        """Return the ``eos_token_id`` of `generate` where the family has another end."""
        if not self._family.end:
            return {}
        tokenizer = self._processor.tokenizer
        named = self._model.generation_config.eos_token_id
        ends = {*(named if isinstance(named, list) else [named]), tokenizer.eos_token_id} - {None}
        return {"eos_token_id": [*sorted(ends), tokenizer.convert_tokens_to_ids(self._family.end)]}

    def _read(self, answers: Sequence[_Answer], shape: tuple[int, ...]) -> Detections | Failed:
        """Read the answers about one picture of `shape` (height, width, …)."""
        size = answers[0].size if answers else (1, 1)
        text = "\n".join(answer.text for answer in answers)
        return read_boxes(self._dialect, text, size, shape, self._max_detections)


def answers_of(family: Family) -> Answer:
    """Return the dialect that reads a family's answers."""
    return next(each for each in ANSWERS if each.name == family.dialect)


def read_boxes(
    dialect: Answer, text: str, size: tuple[int, int], shape: tuple[int, ...], count: int
) -> Detections | Failed:
    """Read the boxes in an answer.

    Args:
        dialect: Reads it.
        text: The answer.
        size: Width and height in pixels of the picture as the model saw it.
        shape: Height and width of the picture, and more.
        count: Most objects to keep.
    """
    found = dialect.read(text.encode(), Context(width=size[0], height=size[1]))
    if not found.documents:
        why = "; ".join(dict.fromkeys(problem.message for problem in found.problems))
        return Failed(f"{why} It begins: {' '.join(text.split())[:80]}")
    elements = found.documents[0].elements or ()
    boxes = np.array([each.box for each in elements], np.float32).reshape(-1, 4)
    boxes *= np.array([shape[1], shape[0]] * 2, np.float32)
    labels = tuple(each.label or "" for each in elements)
    scores = np.ones(len(labels), np.float32)
    return most_certain(Detections(boxes, scores, labels), shape, count)

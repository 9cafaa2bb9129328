"""Vision-language models behind a server as detectors: they write boxes as JSON."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from pipelines.core.errors import KaleidoError
from pipelines.core.fingerprint import fingerprint
from pipelines.core.images import encode_png
from pipelines.core.stage import Failed
from pipelines.extract.detectors.base import Detections, DetectorRef
from pipelines.extract.detectors.grounding import FAMILIES, Family, answers_of, read_boxes
from pipelines.servers.access import Access
from pipelines.servers.question import Question, ask_about, refer
from pipelines.servers.reply import Reply, Unanswered
from pipelines.servers.structured import Complaint, ask_until_usable

ON_SERVERS = {
    "qwen2.5-vl": FAMILIES["qwen2.5-vl"],
    "qwen3-vl": FAMILIES["qwen3-vl"],
    "gemini": Family("gemini", chats=True),
}
"""Dialects that arrive whole. Servers leave out the special tokens in which the others write."""

_NAMES = {
    re.compile(r"qwen-?2\.?5-?vl"): "qwen2.5-vl",
    re.compile(r"qwen-?3-?vl"): "qwen3-vl",
    re.compile(r"gemini"): "gemini",
}

PATCH = 28
"""Sides of the pictures that Qwen2.5-VL sees are multiples of this."""

MOST_PIXELS = 1280 * PATCH**2
"""The most that servers are usually set to let through without reducing a picture."""


@dataclass(frozen=True)
class ServerDetectorRef(DetectorRef):
    """A detector on a server.

    Attributes:
        access: How to reach it.
    """

    access: Access = field(kw_only=True)


def find_on_server(access: Access, dialect: str, prompts: Sequence[str]) -> ServerDetectorRef:
    """Choose a detector on a server.

    Args:
        access: How to reach it.
        dialect: How the model writes boxes, or ``auto`` to tell by its name.
        prompts: What it shall look for; none for the objects that each caption names.

    Raises:
        KaleidoError: If the name does not tell the dialect.
    """
    told = (name for form, name in _NAMES.items() if form.search(access.model.lower()))
    found = next(told, "") if dialect == "auto" else dialect
    if not found:
        raise KaleidoError(
            access.model,
            "its name does not tell how it writes boxes.",
            f"Name the dialect with --dialect: {', '.join(ON_SERVERS)}.",
            code="bad-option",
        )
    rule = [PATCH, MOST_PIXELS] if found == "qwen2.5-vl" else []
    identity = fingerprint("server", access.model, ON_SERVERS[found].identity, rule)
    return ServerDetectorRef(
        access.model, found, identity, None, False, prompts=tuple(prompts), access=access
    )


class ServerGrounder:
    """Asks a server for the objects in pictures, see `DetectorBackend`.

    Args:
        ref: The model.
        max_detections: The first ones are kept: such models give no scores, all are 1.

    Raises:
        KaleidoError: If the server's key cannot be used.
    """

    def __init__(self, ref: ServerDetectorRef, max_detections: int) -> None:
        self._ref, self._max_detections = ref, max_detections
        self._family = ON_SERVERS[ref.family]
        self._dialect = answers_of(self._family)
        self._client = ref.access.connect()

    def predict(
        self, images: Sequence[np.ndarray], captions: Sequence[str]
    ) -> list[Detections | Failed]:
        """Find objects; an answer without any readable box has failed."""
        names = ", ".join(self._ref.prompts)
        shown = [self._picture(image) for image in images]
        questions = [
            self._question(picture, names or caption)
            for picture, caption in zip(shown, captions, strict=True)
        ]

        def read(number: int, reply: Reply) -> Detections | Complaint:
            height, width = shown[number].shape[:2]
            size, shape = (width, height), images[number].shape
            found = read_boxes(self._dialect, reply.text, size, shape, self._max_detections)
            return Complaint(found.error) if isinstance(found, Failed) else found

        found = ask_until_usable(self._client, questions, read)
        return [Failed(each.why) if isinstance(each, Unanswered) else each for each in found]

    def note(self) -> str:
        """Say what was asked and spent so far."""
        return self._client.spending.note()

    def _question(self, picture: np.ndarray, text: str) -> Question:
        turns = ask_about(refer(self._family.prompt), {"text": text}, [encode_png(picture)])
        return Question(turns, self._family.tokens)

    def _picture(self, image: np.ndarray) -> np.ndarray:
        """Return the picture as it is sent.

        Qwen2.5-VL counts pixels of the picture after its processor has resized it. One of whole
        patches and of a usual size is not resized, so the unit is known here.
        """
        if self._family.dialect != "qwen2.5-vl":
            return image
        from PIL import Image

        size = whole_patches(image.shape[1], image.shape[0])
        resized = Image.fromarray(image).resize(size, Image.Resampling.BICUBIC)
        return np.asarray(resized)


def whole_patches(width: int, height: int) -> tuple[int, int]:
    """Return the nearest size, in pixels, that Qwen2.5-VL's processor leaves as it is."""
    scale = min(1.0, (MOST_PIXELS / (width * height)) ** 0.5)
    most = MOST_PIXELS // PATCH**2
    across, down = (max(2, round(side * scale / PATCH)) for side in (width, height))
    while across * down > most:  # rounding, or a narrow picture with two patches on its short side
        across, down = (across - 1, down) if across > down else (across, down - 1)
    return across * PATCH, down * PATCH

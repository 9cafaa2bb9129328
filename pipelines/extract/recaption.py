"""Recaptioning: descriptions by a vision-language model that sees the picture and its caption."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from pipelines.core.errors import KaleidoError
from pipelines.core.fingerprint import fingerprint
from pipelines.core.record import Record
from pipelines.core.stage import Failed, Ok, Outcome, Stage, StageSpec
from pipelines.extract.backends.recaption import Recaptioner
from pipelines.latents.base import LatentError
from pipelines.latents.description import Description
from pipelines.models.hub import model_folder, model_identity

PROMPT = Path(__file__).parent / "prompts" / "describe.txt"
"""The question that is asked where the user names no other."""

BATCH = 8
LEAST_WORDS = 5
MOST_REPEATS = 3
"""So often may four words in a row come again before an answer counts as a loop."""

_REFUSALS = re.compile(
    r"(i'?m sorry|i am sorry|sorry,|i can(no|')t|i am unable|i'?m unable|as an ai)", re.IGNORECASE
)


class RecaptionStage(Stage):
    """pixels and caption -> `Description`.

    Args:
        model: A folder of transformers, or a name on the hub.
        prompt: A text file with the question, ``{caption}`` where the caption belongs.

    Raises:
        KaleidoError: If model or prompt cannot be had.
    """

    def __init__(self, model: str, prompt: Path = PROMPT) -> None:
        self._folder, self._question = model_folder(model), read_prompt(prompt)
        self._model: Recaptioner | None = None
        self.spec = StageSpec(
            name="descriptions-recaption",
            version=1,
            output="description",
            batch_size=BATCH,
            options={
                "model": model_identity(self._folder),
                "prompt": fingerprint(self._question),
            },
        )

    def setup(self) -> None:
        """Load the model."""
        self._model = Recaptioner(self._folder, self._question)

    def __call__(self, records: Sequence[Record]) -> list[Outcome]:
        """Describe each record's picture; an answer that describes nothing has failed."""
        if self._model is None:
            raise RuntimeError("setup() comes before the first batch")
        images, captions = zip(*((each.pixels, each.caption) for each in records), strict=True)
        return [accept(answer) for answer in self._model.describe(images, captions)]


def read_prompt(path: Path) -> str:
    """Read a prompt template.

    Raises:
        KaleidoError: If it cannot be read or is empty.
    """
    try:
        text = path.read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise KaleidoError(str(path), f"the prompt cannot be read ({error}).") from error
    if not text:
        raise KaleidoError(str(path), "the prompt is empty.", "Write the question into it.")
    return text


def accept(answer: str) -> Outcome:
    """Make a description of an answer, or say why it is none."""
    words = answer.split()
    if _REFUSALS.match(answer.strip()):
        return Failed(f"the model refused: {' '.join(words[:12])}")
    if len(words) < LEAST_WORDS:
        return Failed(f"the answer is too short: {len(words)} words")
    grams = Counter(zip(*(words[start:] for start in range(4)), strict=False))
    if max(grams.values(), default=0) > MOST_REPEATS:
        return Failed(f"the answer repeats itself: {' '.join(grams.most_common(1)[0][0])}")
    try:
        return Ok(Description(answer))
    except LatentError as error:
        return Failed(str(error))

"""Recaptioning: descriptions by a model that sees picture and caption, or the caption alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from pipelines.core.errors import KaleidoError
from pipelines.core.fingerprint import fingerprint
from pipelines.core.inputs import read_file
from pipelines.core.record import Record
from pipelines.core.stage import NETWORK, Failed, Ok, Outcome, Stage, StageSpec
from pipelines.extract.captioners.base import (
    LIKELIEST,
    MAX_TOKENS,
    Answer,
    Describer,
    DescriberRef,
    Wording,
    refuses,
)
from pipelines.extract.captioners.find import find_describer, load_describer
from pipelines.extract.captioners.prompts import split_prompts
from pipelines.extract.captioners.server import ServerDescriber, ServerRef
from pipelines.latents.description import Description
from pipelines.latents.text import LatentError

PROMPT = Path(__file__).parent / "prompts" / "describe.txt"
"""The default question for a model that sees the picture."""

TEXT_PROMPT = PROMPT.with_name("expand.txt")
"""The default question for a model that knows only the caption."""

BATCH = 8

SERVER_BATCH = 64
"""Records of which a server is asked at once, within its concurrency. The last answers of a batch
are waited for, so it is several times as large; the pictures of a batch are in memory."""

LEAST_WORDS = 5
MOST_REPEATS = 3
"""Most repetitions of the same four words before an answer counts as a loop."""


class RecaptionStage(Stage):
    """pixels and caption -> `Description`.

    Args:
        model: As `find_describer` takes it, or a describer on a server.
        prompt: A text file with the question, ``{caption}`` where the caption belongs, for a server
            one or several (`split_prompts`); None takes the one for this kind of model.
        wording: How words are chosen.

    Raises:
        KaleidoError: If there is no such model, or the prompt cannot be read.
    """

    def __init__(
        self,
        model: str | ServerRef,
        prompt: Path | None = None,
        wording: Wording = LIKELIEST,
    ) -> None:
        self._ref: DescriberRef = find_describer(model) if isinstance(model, str) else model
        self._wording = wording
        self._question = read_prompt(prompt or (PROMPT if self._ref.sees else TEXT_PROMPT))
        self._model: Describer | ServerDescriber | None = None
        several = _require_one(self._ref, self._question, wording)
        self.spec = StageSpec(
            name=f"descriptions-{self._ref.family}",
            version=2,
            output="description",
            batch_size=SERVER_BATCH if isinstance(model, ServerRef) else BATCH,
            options={
                "model": self._ref.identity,
                "prompt": fingerprint(self._question),
                **wording.options,
                **several,
            },
            resources=NETWORK,
        )

        if isinstance(model, ServerRef):
            what = "Pictures" + " and captions" * ("{caption}" in self._question)
            self.notice = model.access.notice(what if model.sees else "Captions")

    def note(self) -> str:
        """Say what a server was asked and what it cost."""
        return self._model.note() if isinstance(self._model, ServerDescriber) else ""

    def setup(self) -> None:
        """Load the model, or connect to its server."""
        self._model = load_describer(self._ref, self._question, self._wording)

    def __call__(self, records: Sequence[Record]) -> list[Outcome]:
        """Describe each record; a refusal or a broken answer is a failed record."""
        if self._model is None:
            raise RuntimeError("setup() comes before the first batch")
        if isinstance(self._model, ServerDescriber):
            weights = self._model.weights
            return [accept_any(each, weights) for each in self._model.describe_all(records)]
        return [accept(answer) for answer in self._model.describe(records)]


def _require_one(ref: DescriberRef, question: str, wording: Wording) -> dict[str, int]:
    """Check that several descriptions of a picture are not asked for in vain.

    Returns:
        The option that says how often each prompt is asked, unless that is once.

    Raises:
        KaleidoError: If the model is on no server, or its answers would be all alike.
    """
    prompts = split_prompts(question)
    if not isinstance(ref, ServerRef):
        if len(prompts) > 1:
            why = "several prompts are for models on a server."
            raise KaleidoError("--prompt", why, "Name a --server.", code="bad-option")
        return {}
    if ref.count > 1 and not wording.temperature:
        why = "at a temperature of 0 all of them would be alike."
        raise KaleidoError("--count", why, "Give --temperature 0.7, say.", code="bad-option")
    return {"count": ref.count} if ref.count > 1 else {}


def read_prompt(path: Path) -> str:
    """Read a prompt template.

    Raises:
        KaleidoError: If it cannot be read or is empty.
    """
    try:
        text = read_file(path).decode().strip()
    except (KaleidoError, UnicodeDecodeError) as error:
        why = error.why if isinstance(error, KaleidoError) else f"it is not UTF-8 ({error})."
        raise KaleidoError(str(path), why, code="bad-option") from error
    if not text:
        raise KaleidoError(
            str(path), "the prompt is empty.", "Write the question into it.", code="bad-option"
        )
    return text


def accept_any(answers: Sequence[Answer | Failed], weights: Sequence[float]) -> Outcome:
    """Turn several answers about a picture into one description with others.

    Those that are none are left out, and equal ones are one; a record fails if it has none.
    """
    outcomes = [accept(answer) for answer in answers]
    shares: dict[str, float] = {}
    for outcome, weight in zip(outcomes, weights, strict=True):
        if isinstance(outcome, Ok):
            shares[outcome.value.text] = shares.get(outcome.value.text, 0.0) + weight
    if not shares:
        return outcomes[0]
    (first, weight), *others = shares.items()
    return Ok(Description(first, tuple(others), weight) if others else Description(first))


def accept(answer: Answer | Failed) -> Outcome:
    """Turn an answer into a description, or give the reason why it is not one."""
    if isinstance(answer, Failed):
        return answer
    text = answer.text.replace("’", "'").strip()
    words = text.split()
    if refuses(text):
        return Failed(f"the model refused: {' '.join(words[:12])}")
    if len(words) < LEAST_WORDS:
        return Failed(f"the answer is too short: {len(words)} words")
    grams = Counter(zip(*(words[start:] for start in range(4)), strict=False))
    if max(grams.values(), default=0) > MOST_REPEATS:
        return Failed(f"the answer repeats itself: {' '.join(grams.most_common(1)[0][0])}")
    if answer.cut:
        return Failed(f"the answer is too long: it has no end after {MAX_TOKENS} tokens")
    try:
        return Ok(Description(text))
    except LatentError as error:
        return Failed(str(error))

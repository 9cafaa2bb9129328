"""An instruct language model as a planner: asked for sets of plans that differ."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from typing import Protocol

from pipelines.core.errors import KaleidoError
from pipelines.core.fingerprint import fingerprint
from pipelines.core.seeds import derive
from pipelines.documents.document import Document
from pipelines.extract.captioners.base import refuses
from pipelines.plan.planners.facts import Named, open_points, read_facts
from pipelines.plan.planners.form import Form, Reading, fixed_labels, read_plans
from pipelines.servers.question import Question, ask_about
from pipelines.servers.reply import Reply, Unanswered

TRIES = 4
"""Rounds of questions for one caption; each asks for the plans that are still missing."""

VERSION = 1
"""Raised when the questions change."""

FAULTS = {
    "refusal": "refusals",
    "prose": "answers without JSON",
    "JSON": "answers whose JSON cannot be read",
    "cut": "answers that were cut off",
    "form": "plans that are no z documents",
    "caption": "plans that contradict the caption",
    "repeat": "plans that repeat another",
    "no answer": "questions without an answer",
}
"""What can be wrong, and its name in the plural."""

_INSTRUCTIONS = """\
You plan pictures. For the caption that the user sends, write {count} plans of different pictures, \
all of which the caption describes.

Answer with JSON and nothing else: {{"plans": [plan, ...]}} with {count} plans. A plan is
{shape}
left, top, width and height are whole numbers from 0 to 1000, in thousandths of the picture's \
width and height; width and height are at least 20.

The caption fixes: {fixed}. Never change that, and add no more of these things. The first \
elements of every plan have, in this order, the labels {labels}.
The caption leaves open: {open}. Let the plans differ in that as much as they can."""


class Writer(Protocol):
    """A language model that answers questions: a client of a server, or one on this machine."""

    def ask(self, questions: Sequence[Question]) -> list[Reply | Unanswered]:
        """Return one result for each question, in order."""
        ...

    def forget(self, questions: Sequence[Question]) -> None:
        """Keep no answers to these questions, which would be given again in later runs."""
        ...


class LanguagePlanner:
    """Plans by a language model, see `Planner`.

    Args:
        name: The model's name, for errors.
        writer: Answers questions.
        identity: Of the model.
        form: How much a plan holds.
        temperature: Of the words; 0 takes the likeliest.

    Attributes:
        faults: What was wrong with answers so far, by the names of `FAULTS`.
        questions: How many questions were asked so far.
    """

    def __init__(
        self,
        name: str,
        writer: Writer,
        identity: str,
        form: Form = Form(),  # noqa: B008  it is frozen
        temperature: float = 1.0,
    ) -> None:
        self._name, self._writer, self._form = name, writer, form
        self._temperature = temperature
        self.identity = fingerprint("language", VERSION, identity, asdict(form), temperature)
        self.faults: Counter[str] = Counter()
        self.questions = 0

    def plan(self, caption: str, count: int, seed: int) -> list[Document]:
        """Draw plans that all differ, see `Planner.plan`.

        Answers without a plan that can be used are not kept, and where there are too few plans, no
        faulty ones either: asked again, the model may do better.

        Raises:
            KaleidoError: If the model has not written as many usable plans after `TRIES` rounds
                (``bad-answers``); the error counts what was wrong.
        """
        facts = read_facts(caption)
        kept: dict[str, Document] = {}
        faults: Counter[str] = Counter()
        complaints: list[str] = []
        faulty: list[Question] = []
        for attempt in range(TRIES):
            missing = count - len(kept)
            if not missing:
                break
            questions = [
                self._question(caption, facts, size, list(kept.values()), complaints, place)
                for size, place in _portions(missing, self._form.plans, seed, attempt)
            ]
            self.questions += len(questions)
            complaints = []
            replies = self._writer.ask(questions)
            useless: list[Question] = []
            for question, reply in zip(questions, replies, strict=True):
                reading = _read(reply, caption, facts)
                before = faults.total()
                faults.update(reading.faults)
                complaints += reading.complaints
                for document in reading.documents:
                    if len(kept) < count and signature(document) not in kept:
                        kept[signature(document)] = document
                    elif len(kept) < count:
                        faults["repeat"] += 1
                if faults.total() > before:
                    faulty.append(question)
                if not reading.documents:
                    useless.append(question)
            self._writer.forget(useless)
        self.faults += faults
        if len(kept) < count:
            self._writer.forget(faulty)
            raise self._too_few(caption, len(kept), count, faults)
        return [
            document.model_copy(update={"key": f"plan-{number:04d}"})
            for number, document in enumerate(kept.values())
        ]

    def _question(
        self,
        caption: str,
        facts: Sequence[Named],
        count: int,
        known: Sequence[Document],
        complaints: Sequence[str],
        place: int,
    ) -> Question:
        form = self._form
        labels = ", ".join(f'"{label}"' for label in fixed_labels(facts)) or "you choose"
        instructions = _INSTRUCTIONS.format(
            count=count,
            shape=shape_of(form),
            fixed=", ".join(map(str, facts)) or "nothing that can be counted",
            labels=labels,
            open=", ".join(open_points(facts, caption)),
        )
        if known:
            seen = "; ".join(dict.fromkeys(summary(document) for document in known[-8:]))
            instructions += f"\n\nThese plans exist already, so write others: {seen}"
        if complaints:
            wrong = " ".join(dict.fromkeys(complaints[:4]))
            instructions += f"\n\nEarlier answers could not be used. {wrong}"
        turns = ask_about(instructions, {"caption": caption})
        tokens, schema = form.tokens(facts, count), form.schema(facts, count)
        return Question(turns, tokens, self._temperature, place, schema)

    def _too_few(self, caption: str, there: int, count: int, faults: Counter[str]) -> KaleidoError:
        found = ", ".join(f"{number:,} {FAULTS[name]}" for name, number in faults.most_common())
        return KaleidoError(
            self._name,
            f"for {caption[:60]!r} it wrote {there} of {count} plans that can be used, in {TRIES} "
            f"rounds of questions; the others were: {found or 'missing'}.",
            "Use a larger instruct model, or a server that keeps to a schema; or ask for fewer.",
            code="bad-answers",
        )


def shape_of(form: Form) -> str:
    """Describe a plan of a form, for the model."""
    detail = ', "detail": "looks, in a few words"' if form.detail else ""
    place = '"left": 100, "top": 200, "width": 300, "height": 400'
    element = f'{{"label": "name"{detail}, {place}}}'
    parts = ['"background": "…"'] * bool(form.background)
    parts.append(f'"elements": [{element}, ...]')
    parts += [f'"palette": [{form.colours} colours such as "#336699"]'] * bool(form.colours)
    parts += ['"description": "the whole picture"'] * bool(form.description)
    return "{" + ", ".join(parts) + "}"


def signature(document: Document) -> str:
    """Return what two plans that are the same picture have in common: words, and rough places."""
    elements = [
        [element.label, *(round(20 * side) for side in element.box or ())]
        for element in document.elements or ()
    ]
    return fingerprint((document.background or "").lower().split(), elements)


def summary(document: Document) -> str:
    """Return a plan in a few words, for the model."""
    labels = ", ".join(element.label or "" for element in document.elements or ())
    return f"{labels} ({document.background})"[:200] if document.background else labels[:200]


def _read(reply: Reply | Unanswered, caption: str, facts: Sequence[Named]) -> Reading:
    if isinstance(reply, Unanswered):
        return Reading((), ("no answer",))
    if reply.refused or refuses(reply.text):
        return Reading((), ("refusal",))
    return read_plans(reply.text, reply.cut, caption, facts)


def _portions(missing: int, most: int, seed: int, attempt: int) -> list[tuple[int, int]]:
    """Divide plans among questions: their number and the seed of each question."""
    sizes = [min(most, missing - start) for start in range(0, missing, most)]
    return [
        (size, derive(seed, "plan", f"{attempt}/{number}")) for number, size in enumerate(sizes)
    ]

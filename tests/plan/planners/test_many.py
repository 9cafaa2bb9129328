"""Ten thousand plans by chance within the grammar: none invalid, none against its caption."""

from __future__ import annotations

import json

import numpy as np
import pytest
from llguidance import LLMatcher
from llguidance.hf import from_tokenizer
from transformers import AutoTokenizer

from pipelines.core.seeds import generator
from pipelines.documents.projection import DOCUMENT_KINDS, z_of
from pipelines.documents.reading import read_document
from pipelines.plan.planners.facts import contradictions, read_facts
from pipelines.plan.planners.form import Form
from pipelines.plan.planners.language import LanguagePlanner
from pipelines.servers.question import Question
from pipelines.servers.reply import Reply
from tests.plan.planners.tiny_model import save_tiny_model

CAPTIONS = [
    "two red circles and a star",
    "a cat sleeping on a sofa",
    "three blue boats",
    "dogs on a beach",
    "a black and white cow with two brown calves",
    "100 balloons over a lake",
    "sunset",
    "an old man reading a newspaper",
    "five green apples, a knife and two plates",
    "some people in the rain",
]
SMALL = Form(plans=5, more=2, detail=6, background=6, description=8, colours=1, label=6, token=0.2)


class Chance:
    """Writes any text of the schema, each next token as likely as the others."""

    def __init__(self, folder) -> None:
        self._tokenizer = AutoTokenizer.from_pretrained(folder)
        self._tokens = from_tokenizer(self._tokenizer)

    def forget(self, questions: list[Question]) -> None: ...

    def ask(self, questions: list[Question]) -> list[Reply]:
        return [self._write(question) for question in questions]

    def _write(self, question: Question) -> Reply:
        grammar = LLMatcher.grammar_from_json_schema(
            json.dumps(question.schema), defaults={"whitespace_flexible": False}
        )
        matcher = LLMatcher(self._tokens, grammar)
        rng = generator(0, "chance", question.identity)
        ids: list[int] = []
        while not matcher.is_stopped():
            bits = np.frombuffer(matcher.compute_bitmask(), np.uint8)
            ids.append(int(rng.choice(np.flatnonzero(np.unpackbits(bits, bitorder="little")))))
            matcher.consume_token(ids[-1])
        return Reply(self._tokenizer.decode(ids, skip_special_tokens=True))


@pytest.mark.slow
@pytest.mark.parametrize("caption", CAPTIONS)
def test_a_thousand_plans_are_valid_and_keep_to_the_caption(caption, tmp_path):
    planner = LanguagePlanner("chance", Chance(save_tiny_model(tmp_path / "tiny")), "", SMALL)
    facts = read_facts(caption)
    documents = planner.plan(caption, 1000, seed=0)
    # Chance words may speak of five circles, or be the same twice: such a plan is asked for again.
    assert set(planner.faults) <= {"caption", "repeat"} and planner.faults.total() <= 10
    for document in documents:
        assert read_document(document.to_json()) == document
        assert contradictions(facts, document) == []
        assert z_of(document, DOCUMENT_KINDS)[0]


def test_a_few_plans_of_every_caption_are_valid(tmp_path):
    chance = Chance(save_tiny_model(tmp_path / "tiny"))
    for caption in CAPTIONS:
        for document in LanguagePlanner("chance", chance, "", SMALL).plan(caption, 2, seed=1):
            assert read_document(document.to_json()) == document
            assert contradictions(read_facts(caption), document) == []

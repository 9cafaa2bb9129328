"""The nodes as ComfyUI calls them: by the attributes of their classes, without ComfyUI."""

from __future__ import annotations

import json

import pytest
import torch

from kaleido_diffusion.comfyui import NODE_CLASS_MAPPINGS, NODE_DISPLAY_NAME_MAPPINGS
from pipelines.core.errors import KaleidoError
from pipelines.documents.problems import InvalidDocument
from pipelines.documents.reading import read_document

CAPTION = "a circle and a star"


def call(name: str, **inputs):
    """Execute a node: check the inputs against its declaration, then call its function."""
    kind = NODE_CLASS_MAPPINGS[name]
    declared = kind.INPUT_TYPES()
    known = declared["required"] | declared.get("optional", {})
    assert set(declared["required"]) <= set(inputs) <= set(known)
    returned = getattr(kind(), kind.FUNCTION)(**inputs)
    values = returned["result"] if isinstance(returned, dict) else returned
    assert len(values) == len(kind.RETURN_TYPES) == len(kind.RETURN_NAMES)
    return values


@pytest.fixture(scope="module")
def planned():
    return call("KaleidoPlan", caption=CAPTION, count=3, seed=1, prompt_form="words")


def test_every_node_has_a_shown_name_and_what_comfyui_reads():
    assert set(NODE_CLASS_MAPPINGS) == set(NODE_DISPLAY_NAME_MAPPINGS)
    for kind in NODE_CLASS_MAPPINGS.values():
        assert kind.CATEGORY == "Kaleido"
        assert callable(getattr(kind, kind.FUNCTION))
        for form, *_ in kind.INPUT_TYPES()["required"].values():
            assert isinstance(form, list) or form in {"STRING", "INT", "FLOAT", "IMAGE"}


def test_a_plan_is_a_list_of_documents_with_prompts(planned):
    documents, prompts = planned
    assert len(documents) == len(prompts) == len(set(documents)) == 3
    for text, prompt in zip(documents, prompts, strict=True):
        assert read_document(text).caption == CAPTION
        assert prompt.startswith(CAPTION)
    again, _ = call("KaleidoPlan", caption=CAPTION, count=3, seed=1, prompt_form="words")
    assert again == documents
    with pytest.raises(KaleidoError):
        call("KaleidoPlan", caption=" ", count=1, seed=1, prompt_form="words")


def test_a_prompt_can_be_json(planned):
    (prompt,) = call("KaleidoPrompt", document=planned[0][0], prompt_form="ideogram4")
    assert isinstance(json.loads(prompt), dict)


def test_a_document_is_edited_line_by_line(planned):
    document = planned[0][0]
    label = read_document(document).elements[0].label
    changes = f"add 'heart (100, 100, 300, 300)'\n\nremove {label}\nrecolour heart '#2050d0'"
    (changed,) = call("KaleidoEdit", document=document, changes=changes)
    elements = read_document(changed).elements
    assert [each.colours for each in elements if each.label == "heart"] == [("#2050D0",)]
    assert len(elements) == len(read_document(document).elements)


@pytest.mark.parametrize("line", ["fly star", "move star 1", "move star a b", "remove 'star"])
def test_a_line_that_is_no_change_is_named(planned, line):
    with pytest.raises(KaleidoError) as caught:
        call("KaleidoEdit", document=planned[0][0], changes=line)
    assert caught.value.what == line
    assert "move" in caught.value.hint


def test_documents_go_to_other_formats_and_back(planned):
    documents = planned[0]
    shape = {"width": [64], "height": [64]}
    texts, lost = call("KaleidoToDialect", document=documents, dialect=["coco"], **shape)
    assert "palette" in lost
    assert len(json.loads(texts[0])["images"]) == 3
    (back,) = call("KaleidoFromDialect", text=texts[0], dialect="coco", width=64, height=64)
    boxes = [[each.box is not None for each in read_document(text).elements] for text in back]
    assert len(boxes) == 3 and all(map(any, boxes))
    one, lost = call("KaleidoToDialect", document=documents[:1], dialect=["kaleido.z"], **shape)
    assert lost == ""
    (same,) = call("KaleidoFromDialect", text=one[0], dialect="kaleido.z", width=1, height=1)
    assert read_document(same[0]).elements == read_document(documents[0]).elements
    with pytest.raises(InvalidDocument):
        call("KaleidoFromDialect", text="{", dialect="kaleido.z", width=1, height=1)


def test_diversity_counts_different_pictures():
    same = torch.zeros(4, 8, 8, 3)
    different = torch.rand(4, 1, 1, 3, generator=torch.Generator().manual_seed(0)).expand(
        4, 8, 8, 3
    )
    by_colour, by_form, text = call("KaleidoDiversity", images=same)
    assert by_colour == pytest.approx(1.0, abs=0.01) and by_form == pytest.approx(1.0, abs=0.01)
    assert "of 4" in text
    more, _, _ = call("KaleidoDiversity", images=different)
    assert more > 2
    with pytest.raises(KaleidoError):
        call("KaleidoDiversity", images=same[:1])

"""A samples.jsonl is read as z documents."""

import json

import pytest

from pipelines.documents.dialects.base import Context
from pipelines.documents.dialects.kaleido import KaleidoZ
from pipelines.documents.projection import document_of
from pipelines.latents.boxes import Box, Boxes
from pipelines.latents.sequence import z_to_text

Z = {"boxes": Boxes((Box("star", 100, 100, 300, 300),))}
DOCUMENT = json.loads(document_of(Z, "a star", (64, 64)).to_json())
ROW = {"file": "0000-0001.png", "caption": "a star", "z": z_to_text(Z), "index": 1}


def read(*rows):
    text = "".join(json.dumps(row) + "\n" for row in rows)
    return KaleidoZ().read(text.encode(), Context("samples/stars/samples.jsonl"))


@pytest.mark.parametrize("count", [1, 2])
def test_a_sample_is_its_document_under_the_name_of_its_file(count):
    rows = [ROW | {"document": DOCUMENT}, ROW | {"document": DOCUMENT, "file": "0000-0002.png"}]
    found = read(*rows[:count])
    assert not found.problems
    assert [d.key for d in found.documents] == ["0000-0001", "0000-0002"][:count]
    for document in found.documents:
        assert json.loads(document.model_copy(update={"key": None}).to_json()) == DOCUMENT


def test_a_list_of_an_earlier_version_has_z_as_text():
    (document,) = read(ROW).documents
    assert document.elements[0].box == (0.1, 0.1, 0.3, 0.3)
    assert (document.key, document.caption, document.image) == ("0000-0001", "a star", None)


def test_a_sample_without_z_is_a_warning_and_a_broken_one_an_error():
    found = read(ROW | {"z": ""}, ROW)
    assert len(found.documents) == 1
    assert [(p.path, p.code, p.severity) for p in found.problems] == [
        ("line 1.z", "baseline", "warning")
    ]
    assert [p.code for p in read(ROW | {"z": ""}).problems] == ["baseline"]
    found = read(ROW | {"z": "<boxes> star"}, ROW | {"document": {**DOCUMENT, "elements": 3}})
    assert [(p.path, p.severity) for p in found.problems] == [
        ("line 1.z", "error"),
        ("line 2.document.elements", "error"),
    ]


def test_what_is_no_sample_is_reported_as_before():
    for text in (b'{"file": 3}', b'{\n"format": "kaleido.z",\n"elements": 3}', b"[]\n[]"):
        found = KaleidoZ().read(text, Context())
        assert not found.documents and found.problems
    half_read = b'{\n"format": "kaleido.z", "version": 1,\n"elements": 3}'
    assert [p.path for p in KaleidoZ().read(half_read, Context()).problems] == ["elements"]

"""The page on the z document: its schema, its example and its table of losses are the code's."""

from __future__ import annotations

import importlib.util
import json
import re
from pathlib import Path

import pytest

from pipelines.documents import document as module
from pipelines.documents.dialects.base import WritableDialect
from pipelines.documents.dialects.registry import DIALECTS
from pipelines.documents.document import Document
from pipelines.documents.reading import read_document
from pipelines.documents.schema import json_schema

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "reference" / "z-document.md").read_text("utf-8")
PLACED = {
    "id": "e0",
    "label": "kite",
    "description": "Red paper kite.",
    "box": [0.2, 0.2, 0.6, 0.6],
    "ellipse": {"x": 0.4, "y": 0.4, "major": 0.2, "minor": 0.1, "angle": 30},
    "colours": ["#D8342C", "#102030", "#203040", "#304050", "#405060", "#506070"],
    "score": 0.5,
    "count": 2,
    "depth": 1.5,
    "attributes": {"wind": "strong"},
    "extra": {"note": 1},
}
FULL = {
    "format": "kaleido.z",
    "version": 1,
    "image": {"width": 64, "height": 48},
    "description": "A kite.",
    "background": "Sky.",
    "style": {"medium": "painting", "composition": "centred", "mood": "calm"},
    "elements": [
        PLACED | {"mask": {"polygons": [[0.2, 0.2, 0.6, 0.2, 0.6, 0.6], [0, 0, 0, 1, 1, 1]]}},
        PLACED | {"id": "e1", "mask": {"file": "kite.png", "value": 3}},
        PLACED | {"id": "e2", "mask": {"size": [48, 64], "counts": [64 * 48]}},
        PLACED | {"id": "e3", "text": "KITES"},
        PLACED | {"id": "e4", "type": "text", "text": "KITES"},
        {"id": "e5", "label": "hill"},
    ],
    "palette": [{"hex": "#F0F0F0", "weight": 900}, {"hex": "#D8342C", "weight": 100}],
    "relations": [{"subject": "e0", "text": "above", "object": "e5"}],
    "tokens": {"tokenizer": "", "height": 1, "width": 2, "codebook": 8, "ids": [1, 2]},
    "extra": {"note": 1},
}


def rows() -> dict[str, list[str]]:
    """The table of formats: name -> its other cells."""
    found = re.findall(r"^\| `([\w.-]+)` \| (.*) \| (.*) \|$", PAGE, re.MULTILINE)
    return {name: [about, cell] for name, about, cell in found if name in DIALECTS}


def lost_by(dialect: WritableDialect) -> set[str]:
    """Every kind of loss when a document with everything is written, with and without its size."""
    whole = read_document(json.dumps(FULL | {"key": "a"}))
    sizeless = whole.model_copy(update={"key": "b", "image": None})
    lost = dialect.write([whole, sizeless]).lost
    return {loss.field for losses in lost.values() for loss in losses}


def test_every_format_is_in_the_table():
    assert list(rows()) == list(DIALECTS)


@pytest.mark.parametrize("name", DIALECTS)
def test_the_table_names_what_is_lost(name):
    dialect, (_, cell) = DIALECTS[name], rows()[name]
    if not isinstance(dialect, WritableDialect):
        assert cell == "only read"
        return
    assert set(re.findall(r"`(\w+)`", cell)) == lost_by(dialect)


def test_the_shipped_schema_is_the_code_s():
    shipped = Path(module.__file__).with_name("kaleido.z.schema.json").read_text("utf-8")
    assert json.loads(shipped) == json_schema()


def test_the_example_is_canonical():
    (example,) = re.findall(r"```json\n(.*?)```", PAGE, re.DOTALL)
    assert json.loads(read_document(example).to_json()) == json.loads(example)


def test_the_tables_of_fields_explain_every_key():
    spec = importlib.util.spec_from_file_location("docs_hooks", ROOT / "docs" / "hooks.py")
    hooks = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(hooks)
    written = hooks.on_page_markdown("{{ z fields }}")
    sections = dict(part.split("\n", 1) for part in re.split(r"^### ", written, flags=re.M)[1:])
    assert set(sections) == {"The document", *json_schema()["$defs"]}
    keys = dict(re.findall(r"^\| `(\w+)` \| .+ \| (.*) \|$", sections["The document"], re.M))
    assert list(keys) == list(Document.model_fields)
    assert all(keys.values())
    assert "from 0 to 1" in sections["Element"] and "list of [Element](#element)" in written

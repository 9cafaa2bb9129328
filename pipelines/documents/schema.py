"""The JSON Schema of the document."""

from __future__ import annotations

from typing import Any

from pipelines.documents.document import Document


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of the document."""
    schema = Document.model_json_schema()
    schema["required"] = ["format", "version"]
    return _without_null({"$schema": "https://json-schema.org/draft/2020-12/schema", **schema})


def _without_null(schema: Any) -> Any:
    """Drop the null alternative, which represents an absent key only in Python."""
    if isinstance(schema, list):
        return [_without_null(item) for item in schema if item != {"type": "null"}]
    if not isinstance(schema, dict):
        return schema
    form = {
        key: _without_null(item)
        for key, item in schema.items()
        if not (key == "default" and item is None)
    }
    if len(form.get("anyOf", ())) == 1:
        form |= form.pop("anyOf")[0]
    return form

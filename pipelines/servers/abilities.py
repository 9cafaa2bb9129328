"""What a server does not take, learned from its complaints.

Servers know different parts of the protocol: some know no schema of answers, and models that reason
take neither a temperature nor the older name of the limit of tokens.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Any

from pipelines.documents.strict_json import parse
from pipelines.servers.exchange import Response

COMPLAINS = (400, 422, 501)
"""Statuses with which servers answer that do not know a part of a request."""

SCHEMA, LIMIT = "response_format", "max_tokens"

OPTIONAL = (LIMIT, "temperature", "seed", SCHEMA)
"""Parts of a request without which a question may be asked; the limit gets its newer name."""

THOUGHTS = 8192
"""Tokens beside those of the answer for models that count their reasoning among them."""


def adapt(body: dict[str, Any], without: Collection[str]) -> dict[str, Any]:
    """Return a request without what the server does not take."""
    adapted = {name: value for name, value in body.items() if name not in without}
    if LIMIT in without:
        adapted["max_completion_tokens"] = body[LIMIT] + THOUGHTS
    return adapted


def disliked(came: Response, sent: Collection[str]) -> str | None:
    """Tell which part of a request a server may do without.

    Args:
        came: Its response.
        sent: Names of the parts.

    Returns:
        The part that the response names; else the schema, as servers that do not know it complain
        in many ways; None if there is nothing to leave out.
    """
    if came.status not in COMPLAINS:
        return None
    value, _ = parse(came.body)
    error = value.get("error") if isinstance(value, dict) else None
    named = error.get("param") if isinstance(error, dict) else None
    if named in OPTIONAL and named in sent:
        return str(named)
    text = came.body[:2000].decode("utf-8", "replace")
    for name in OPTIONAL:
        if name in sent and re.search(rf"\b{name}\b", text):
            return name
    return SCHEMA if SCHEMA in sent else None

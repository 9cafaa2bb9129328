"""Fingerprints: hashes of everything that a result depends on."""

from __future__ import annotations

import hashlib
import json
from typing import Any


def fingerprint(*parts: Any) -> str:
    """Return the SHA-256 of JSON values as 64 hexadecimal digits, whatever the order of keys.

    Raises:
        TypeError: If a part is not a JSON value.
        ValueError: If a number is not finite.
    """
    text = json.dumps(parts, sort_keys=True, allow_nan=False, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()

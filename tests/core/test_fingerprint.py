from __future__ import annotations

import pytest

from pipelines.core.fingerprint import fingerprint


def test_equal_values_in_another_order_give_an_equal_hash():
    assert fingerprint("a", {"x": 1, "y": (2, 3)}) == fingerprint("a", {"y": [2, 3], "x": 1})


@pytest.mark.parametrize("other", [("a", 2), ("a1",), ("a", "1"), ("a", 1.5), ("a", [1])])
def test_other_values_give_another_hash(other):
    assert fingerprint("a", 1) != fingerprint(*other)


def test_what_json_cannot_hold_is_refused():
    with pytest.raises(TypeError):
        fingerprint(object())
    with pytest.raises(ValueError, match="JSON"):
        fingerprint(float("nan"))

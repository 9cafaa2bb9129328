"""The automaton of free text offers exactly the tokens that it then follows."""

from __future__ import annotations

from itertools import product
from types import SimpleNamespace

import pytest

from pipelines.latents.grammar.text import TextGrammar
from pipelines.latents.text import LatentError

TEXTS = ["a", "", " ", " b", "abc", "é", "  ", "a b"]
END = 99


def grammar(longest: int, most: int, texts=TEXTS) -> TextGrammar:
    alphabet = SimpleNamespace(max_description_tokens=longest, texts=texts)
    return TextGrammar(alphabet, END, frozenset("abc"), most)


def legal(ids: tuple[int, ...], longest: int, most: int) -> bool:
    """The rule in one place: what the tokens may write on the way to a text."""
    words = [TEXTS[i] for i in ids]
    if len(ids) > longest or not all(words) or "é" in words:
        return False
    blank = [not "".join(words[: n + 1]).strip() for n in range(len(words))]
    if any(blank[1:]) or (blank[:1] == [True] and (longest < 2 or words[0].strip())):
        return False
    return len("".join(words).lstrip(" ")) <= most


@pytest.mark.parametrize(("longest", "most"), [(1, 3), (2, 3), (3, 4), (3, 1), (4, 100)])
def test_tokens_are_followed_exactly_where_the_rule_allows(longest, most):
    rules = grammar(longest, most)
    for count in range(min(longest, 3) + 1):
        for ids in product(range(-1, len(TEXTS) + 1), repeat=count):
            node = rules.start()
            for index, token_id in enumerate(ids):
                offered = token_id in rules.options(node)
                node = rules.follow(node, token_id)
                allowed = 0 <= token_id < len(TEXTS) and legal(ids[: index + 1], longest, most)
                assert offered == allowed == (node is not None), (ids, index)
                if node is None:
                    break
            else:
                text = "".join(TEXTS[i] for i in ids)
                assert rules.complete(node) == bool(text.strip())
                assert (END in rules.options(node)) == rules.complete(node)
                left = len(ids) < longest and len(text.lstrip(" ")) < most
                assert rules.expected(node) == ("text" if left else "")


def test_what_can_write_nothing_is_refused():
    for longest, texts in ((0, TEXTS), (3, ["", " ", "é"])):
        with pytest.raises(LatentError):
            grammar(longest, 5, texts)

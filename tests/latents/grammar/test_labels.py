"""The automata of labels accept exactly the token sequences that write a label."""

from __future__ import annotations

from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.latents.grammar.alphabet import Alphabet
from pipelines.latents.grammar.labels import ClosedLabels, OpenLabels, _character_table
from pipelines.latents.text import LatentError, escape, unescape
from pipelines.latents.vocabulary import encode_label, token_texts


@cache
def open_labels(tokenizer, longest):
    return OpenLabels(token_texts(tokenizer), longest)


def follow(automaton, ids):
    node = 0
    for token_id in ids:
        assert token_id in automaton.options(node)
        node = automaton.follow(node, token_id)
    return automaton.complete(node)


def run(text):
    """Whether the characters of an escaped label, after its leading space, are accepted."""
    table, accepting = _character_table()
    state = 0
    for char in " " + text:
        state = table[state, ord(char)]
    return state == accepting


@settings(deadline=None)
@given(st.text(min_size=1))
def test_every_escaped_label_is_accepted(label):
    assert run(escape(label))


@settings(deadline=None)
@given(st.text(alphabet=st.sampled_from("a9. %02489ACEFBD"), max_size=14))
def test_accepted_text_is_a_label(text):
    if run(text):
        label = unescape(text)
        label.encode("utf-8")
        assert label and "\ufffd" not in label
        # Only an inner space may be written in two ways.
        assert escape(label).replace("%20", " ") == text.replace("%20", " ")


@pytest.mark.parametrize(
    "text", ["", " a", "a ", "a  b", "%", "%4", "%41", "%zz", "%e9", "%FF", "%C3", "%C3a",
             "%C0%80", "%ED%A0%80", "%F4%90%80%80", "%E0%80%80", "a<", "a;", "(a"]
)  # fmt: skip
def test_other_text_is_not_accepted(text):
    assert not run(text)


def test_a_closed_label_may_be_a_prefix_of_another(tokenizer):
    labels = ["star", "star fish", "starfish", "🎨", "star", "a;b"]
    written = [encode_label(tokenizer, label) for label in labels]
    automaton = ClosedLabels(written)
    for ids in written:
        assert follow(automaton, ids)
    assert not automaton.complete(0)
    assert automaton.follow(0, tokenizer.eos_token_id) is None
    assert automaton.longest == max(map(len, written))


@pytest.mark.parametrize("labels", [[], [""], ["\ud800"]])
def test_bad_label_sets_are_refused(byte_tokenizer, labels):
    with pytest.raises(LatentError):
        _ = Alphabet(byte_tokenizer, labels, 8, 8, None).labels


@settings(deadline=None)
@given(label=st.text(min_size=1, max_size=10))
def test_open_labels_accept_every_label_that_is_short_enough(tokenizer, label):
    ids = encode_label(tokenizer, label)
    assert follow(open_labels(tokenizer, 130), ids)
    short = open_labels(tokenizer, 4)
    node = 0
    for token_id in ids:
        node = short.follow(node, token_id)
        if node is None:
            break
    assert (node is not None and short.complete(node)) == (len(ids) <= 4)


def test_open_labels_never_run_out_of_tokens(tokenizer):
    automaton = OpenLabels(token_texts(tokenizer), 3)
    nodes = {0}
    for written in range(3):
        assert all(len(automaton.options(node)) or automaton.complete(node) for node in nodes)
        nodes = {automaton.follow(n, int(i)) for n in nodes for i in automaton.options(n)}
        assert None not in nodes and nodes, written
    assert all(automaton.complete(node) and not len(automaton.options(node)) for node in nodes)


def test_too_few_tokens_are_refused(byte_tokenizer):
    with pytest.raises(LatentError):
        OpenLabels(token_texts(byte_tokenizer), 0)


def test_exactly_the_bytes_of_utf_8_are_characters():
    edges = (0x00, 0x41, 0x7F, 0x80, 0x8F, 0x90, 0x9F, 0xA0, 0xBF, 0xC0, 0xFF)
    rows = [bytes([first]) for first in range(256)]
    rows += [bytes([first, second]) for first in range(0x80, 256) for second in edges]
    rows += [row + bytes([last]) for row in rows if len(row) == 2 for last in (0x7F, 0x80, 0xBF)]
    rows += [row + bytes([last]) for row in rows if len(row) == 3 for last in (0x80, 0xBF, 0xC0)]
    for row in rows:
        text = "".join(f"%{byte:02X}" for byte in row)
        try:
            is_label = escape(row.decode()) == text
        except UnicodeDecodeError:
            is_label = False
        assert run(text) == is_label, text


def test_every_token_counts_the_first_and_the_last_too():
    texts = [" a", "b", "<1>", " c"]
    labels = OpenLabels(texts, 2)
    assert sorted(labels.options(0)) == [0, 3]
    node = labels.follow(0, 0)
    assert labels.complete(node) and labels.complete(labels.follow(node, 1))
    assert [labels.follow(0, wrong) for wrong in (-1, 1, 2, 4)] == [None] * 4
    assert labels.follow(labels.follow(node, 1), 1) is None  # over two tokens
    with pytest.raises(LatentError):
        OpenLabels(["b", "<1>"], 3)
    with pytest.raises(LatentError):
        OpenLabels(texts, 0)

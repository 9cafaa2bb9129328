"""Captions in free words for training: what they mean stays, and the measured ones are others."""

from collections import Counter

import pytest

from pipelines.core.seeds import generator
from pipelines.scenes.captions import unknown_words
from pipelines.scenes.generate import make_records
from pipelines.scenes.rewordings import (
    ABSENT,
    FRAMES,
    ORDERS,
    P_PLAIN,
    QUANTITIES,
    SYNONYMS,
    groups_of,
    misspelt,
    plural,
    reword,
)
from recipes import measure_rewordings

RECORDS = list(make_records(300, 3))


def rewordings_of(record, count=1):
    return [reword(record, generator(0, "test", f"{record.key} {i}")) for i in range(count)]


def test_a_share_stays_and_the_others_are_worded_in_many_ways():
    pairs = [(record.caption, rewordings_of(record)[0]) for record in RECORDS]
    assert sum(a == b for a, b in pairs) / len(pairs) == pytest.approx(P_PLAIN, abs=0.1)
    assert len({caption for _, caption in pairs}) > 0.6 * len(pairs)
    assert sum(bool(unknown_words(caption)) for _, caption in pairs) > 100


def test_equal_records_and_seeds_give_equal_captions():
    assert rewordings_of(RECORDS[0], 5) == rewordings_of(RECORDS[0], 5)


def test_groups_are_those_of_the_scene_in_the_order_of_its_caption():
    for record in RECORDS[:100]:
        groups = groups_of(record, generator(0, "test"))
        shapes = Counter(item["shape"] for item in record.meta["truth"]["objects"])
        assert {group.shape: group.number for group in groups} == shapes
        places = [record.caption.index(group.shape) for group in groups]
        assert places == sorted(places)
        for group in groups:
            items = [o for o in record.meta["truth"]["objects"] if o["shape"] == group.shape]
            assert not group.colour or {item["colour"] for item in items} == {group.colour}


def test_what_is_said_to_be_absent_is_not_there():
    names = {n: shape for shape, others in SYNONYMS.items() for n in (shape, *others)}
    endings = {
        ending.format(one=name, many=plural(name)): shape
        for ending in ABSENT
        for name, shape in names.items()
    }
    checked = 0
    for record in RECORDS:
        there = {item["shape"] for item in record.meta["truth"]["objects"]}
        for caption in rewordings_of(record, 4):
            said = {shape for ending, shape in endings.items() if ending in caption}
            assert not said & there or any(f"{s}s" in caption for s in said)
            checked += bool(said)
    assert checked > 100


def test_a_misspelt_word_is_another_and_nearly_the_same():
    for seed in range(50):
        word = misspelt("square", generator(seed, "test"))
        assert word != "square" and abs(len(word) - 6) <= 1


def test_the_measured_captions_are_never_trained():
    measured = {each.caption for each in measure_rewordings.rewordings(500)}
    records = [record for record in RECORDS if not record.heldout]
    trained = {caption for record in records for caption in rewordings_of(record, 10)}
    assert len(trained) > 1000 and not trained & measured
    # Their wordings of numbers, orders and negations are others too; words have to be learned.
    assert not set(measure_rewordings.QUANTITIES.values()) & set(sum(QUANTITIES.values(), ()))
    assert not {" without a {one}", ", no {one}", ", but no {many}"} & set(ABSENT)
    assert not {"{many}, two of them"} & set(sum(ORDERS.values(), ()))
    assert set(measure_rewordings.WORDINGS) <= set(FRAMES)
    for shape, names in measure_rewordings.SYNONYMS.items():
        assert set(names) <= set(SYNONYMS[shape])

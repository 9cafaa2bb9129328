"""Captions in other words: the same each time, all different, and meant as they say."""

from collections import Counter

from pipelines.embedded.paths import embedded_path
from pipelines.models.prior import Prior
from pipelines.scenes.captions import read_caption, unknown_words
from recipes.measure_rewordings import KINDS, SYNONYMS, USUAL, measure, rewordings


def test_captions_are_different_and_the_same_each_time():
    first = rewordings(80)
    assert first == rewordings(80) and first != rewordings(80, seed=1)
    assert len({each.caption for each in first}) == 80
    assert Counter(each.kind for each in first) == dict.fromkeys(KINDS, 10)


def test_each_kind_says_what_it_means():
    for each in rewordings(160):
        read = read_caption(each.caption)
        if each.kind == "plain":
            assert read == each.shapes and not unknown_words(each.caption)
        if each.kind == "unknown word":
            assert read is not None and set(read) == set(each.shapes)
            assert unknown_words(each.caption)
        if each.kind == "negation":
            assert each.absent in USUAL and each.absent not in each.shapes
            assert each.absent in each.caption
        if each.kind == "synonym":
            assert read is None or not set(read) & set(each.shapes)
            assert all(any(n in each.caption for n in SYNONYMS[s]) for s in each.shapes)
        if each.kind == "misspelling":
            assert read != each.shapes
        if each.kind in ("numeral", "quantity", "order"):
            assert all(shape in each.caption for shape in each.shapes)


def test_the_shipped_prior_knows_plain_captions_and_not_all_others():
    found = measure(Prior.load(embedded_path("prior")), rewordings(16), n=4)
    assert set(found) == set(KINDS) and found["plain"]["captions"] == 2
    assert found["plain"]["agrees"] > 0.7 > found["synonym"]["agrees"]
    assert "absent" in found["negation"] and "absent" not in found["plain"]

"""Caption tables: a row that does not fit is a failed row, never a wrong caption."""

from __future__ import annotations

import csv
import io
import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipelines.core.errors import BadRecord, KaleidoError
from pipelines.data.caption_files import clean_caption
from pipelines.data.caption_table import read_table

FUZZ = settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def rows_of(tmp_path, text, name="captions.csv", **options):
    path = tmp_path / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return list(read_table(path, **options))


def captions(rows):
    return {row.file: row.captions for row in rows if not row.reason}


@pytest.mark.parametrize(
    ("text", "good", "bad"),
    [
        ("file,caption\na.png,red, ripe\nb.png,a pear\n", {"b.png": ("a pear",)}, 1),
        ("file,caption,id\na.png,a cat\nb.png,a pear,3\n", {"b.png": ("a pear",)}, 1),
        ('file,caption\na.png,"a cat\nb.png,a dog\nc.png,"a bird"\n', {}, 1),
        ('file,caption\na.png,"a cat\nb.png,a dog"\nc.png,a bird\n', {"c.png": ("a bird",)}, 1),
        ('file,caption\na.png,a cat\nb.png,"a dog\n', {"a.png": ("a cat",)}, 1),
        ('file,caption\na.png,"a" cat\nb.png,a dog\n', {"b.png": ("a dog",)}, 1),
        ('file,caption\na.png,a "fat" cat\n', {"a.png": ('a "fat" cat',)}, 0),
        ('file,caption\na.png,"two\nlines"\n', {"a.png": ("two\nlines",)}, 0),
        ('file,caption\n\na.png,"a ""fat"" cat"\n\n', {"a.png": ('a "fat" cat',)}, 0),
    ],
)
def test_rows_fit_their_header_or_fail(tmp_path, text, good, bad):
    rows = rows_of(tmp_path, text)
    assert captions(rows) == good
    assert sum(bool(row.reason) for row in rows) == bad


def test_a_failed_row_names_its_lines(tmp_path):
    (row,) = rows_of(tmp_path, 'file,caption\na.png,"a cat\nb.png,a dog\nc.png,"a bird"\n')
    assert "lines 2 to 4" in row.reason


@pytest.mark.parametrize("header", ["file,caption,caption", "file,file,text", "name,caption", ""])
def test_a_header_without_one_column_of_each_is_an_error(tmp_path, header):
    with pytest.raises(KaleidoError) as caught:
        rows_of(tmp_path, f"{header}\na.png,a,b\n")
    assert caught.value.code == "bad-data"


NAMES = st.integers(0, 99).map("{}.png".format)
TEXTS = st.text(st.characters(blacklist_categories=["Cs"]), min_size=1, max_size=30)


@FUZZ
@given(st.lists(st.tuples(NAMES, TEXTS), min_size=1, max_size=6))
def test_every_caption_that_csv_can_write_comes_back_or_fails(tmp_path, pairs):
    buffer = io.StringIO()
    writer = csv.writer(buffer)
    writer.writerow(["file", "caption"])
    writer.writerows(pairs)
    rows = rows_of(tmp_path, buffer.getvalue())
    assert len(rows) == len(pairs)
    for row, (name, text) in zip(rows, pairs, strict=True):
        assert row.reason or (row.file, row.captions) == (name, (text,))


@FUZZ
@given(st.lists(st.tuples(NAMES, TEXTS), min_size=2, max_size=5), st.data())
def test_a_stray_quote_never_gives_one_row_the_words_of_another(tmp_path, pairs, data):
    pairs = [(f"{index}.png", f"words {index}") for index, _ in enumerate(pairs)]
    text = "file,caption\n" + "".join(f"{name},{words}\n" for name, words in pairs)
    places = data.draw(st.lists(st.integers(13, len(text)), min_size=1, max_size=3))
    for place in sorted(places, reverse=True):
        text = text[:place] + '"' + text[place:]
    for row in rows_of(tmp_path, text):
        if not row.reason:
            numbers = {word for word in row.captions[0].replace('"', "").split() if word.isdigit()}
            assert len(numbers) <= 1, (text, row)


@FUZZ
@given(st.binary(max_size=200), st.sampled_from(["captions.csv", "a.tsv", "a.jsonl"]))
def test_any_bytes_give_rows_or_an_error(tmp_path, data, name):
    try:
        rows = rows_of(tmp_path, b"file,caption\n" * (name == "captions.csv") + data, name)
    except KaleidoError:
        return
    assert all(row.reason or (row.file and row.captions) for row in rows)


def test_json_rows_may_hold_lists(tmp_path):
    values = [
        {"file": "a.png", "caption": ["one", "two"]},
        {"file": "b.png", "captions": ["three"]},
        {"file": "c.png", "caption": []},
        {"file": "d.png", "caption": ["four", 5]},
        {"file": "e.png", "caption": {"en": "five"}},
    ]
    rows = rows_of(tmp_path, "\n".join(map(json.dumps, values)), "captions.jsonl")
    assert captions(rows) == {"a.png": ("one", "two"), "b.png": ("three",)}
    assert [bool(row.reason) for row in rows] == [False, False, True, True, True]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-32"])
@pytest.mark.parametrize("name", ["captions.csv", "captions.jsonl", "captions.tsv"])
def test_encodings_with_a_mark(tmp_path, encoding, name):
    line = json.dumps({"file": "a.png", "caption": "café"}, ensure_ascii=False)
    between = "\t" if name.endswith("tsv") else ","
    text = line if name.endswith("jsonl") else f"file{between}caption\r\na.png{between}café\r\n"
    mark = "\ufeff" if encoding == "utf-16-le" else ""
    rows = rows_of(tmp_path, (mark + text).encode(encoding), name)
    assert captions(rows) == {"a.png": ("café",)}


def test_a_cut_utf16_table_is_an_error_or_loses_no_row(tmp_path):
    data = "file,caption\na.png,café\nb.png,pear\n".encode("utf-16")[:-3]
    try:
        rows = rows_of(tmp_path, data)
    except KaleidoError as error:
        assert error.code == "bad-data"
    else:
        assert captions(rows)["a.png"] == ("café",)


@pytest.mark.parametrize("text", ["", " \n", "\0\0", "\x07\x1b", "...", "😀 – !", "\u200b"])
def test_captions_without_a_letter_or_digit_fail(text):
    with pytest.raises(BadRecord):
        clean_caption(text, "x", 100)
    with pytest.raises(BadRecord):
        clean_caption(text.encode(), "x", 100)


@pytest.mark.parametrize(
    ("data", "caption"),
    [
        (b"a\0cat", "a cat"),
        ("\ufeffcafé\r\n".encode(), "café"),
        ("ein Öl".encode("utf-16"), "ein Öl"),
        ("猫".encode(), "猫"),
        (b"7", "7"),
        ("<b>&amp;</b> \u202e x", "<b>&amp;</b> \u202e x"),
    ],
)
def test_captions_become_one_line(data, caption):
    assert clean_caption(data, "x", 100) == caption

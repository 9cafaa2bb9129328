import json
import math
import time
from pathlib import Path

import jsonschema
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipelines.documents.document import Document
from pipelines.documents.element import Element
from pipelines.documents.problems import InvalidDocument
from pipelines.documents.reading import check_document, read_document
from pipelines.documents.schema import json_schema
from pipelines.documents.strict_json import parse

EXAMPLE = (Path(__file__).parent / "kite.z.json").read_text("utf-8").strip()
MINIMAL = {"format": "kaleido.z", "version": 1}


def codes(form) -> set[tuple[str, str]]:
    text = form if isinstance(form, str | bytes) else json.dumps(form)
    document, problems = check_document(text)
    assert (document is None) == any(problem.severity == "error" for problem in problems)
    return {(problem.path, problem.code) for problem in problems}


def element(**values):
    return MINIMAL | {"elements": [{"id": "e0", "type": "object", "label": "a", **values}]}


def test_a_canonical_document_is_written_as_it_was_read():
    assert read_document(EXAMPLE).to_json() == EXAMPLE


def test_equal_documents_give_equal_bytes_whatever_the_order_and_form_of_numbers():
    shuffled = json.dumps(dict(reversed(json.loads(EXAMPLE).items())), indent=2)
    shuffled = shuffled.replace("0.6", "0.600", 1)
    assert read_document(shuffled).to_json() == EXAMPLE


def test_absent_and_empty_differ():
    unknown, none = (
        read_document(json.dumps(MINIMAL)),
        read_document(json.dumps(MINIMAL | {"elements": [], "description": ""})),
    )
    assert unknown.elements is None and none.elements == ()
    assert unknown.to_json() == '{"format":"kaleido.z","version":1}'
    assert none.to_json() == '{"format":"kaleido.z","version":1,"description":"","elements":[]}'


@pytest.mark.parametrize(
    ("form", "expected"),
    [
        ([], ("", "model_type")),
        ({}, ("format", "missing")),
        (MINIMAL | {"format": "other"}, ("format", "literal_error")),
        (MINIMAL | {"version": 2}, ("version", "version")),
        (MINIMAL | {"version": True}, ("version", "version")),
        (MINIMAL | {"description": None}, ("description", "null")),
        (MINIMAL | {"colour": "red"}, ("colour", "extra_forbidden")),
        (element(box=[0.5, 0, 0.5, 1]), ("elements[0]", "box")),
        (element(box=[0.9, 0, 0.1, 1]), ("elements[0]", "box")),
        (element(box=[0, 0, 1, 1.5]), ("elements[0].box[3]", "less_than_equal")),
        (element(box=[False, 0, 1, 1]), ("elements[0].box[0]", "float_type")),
        (element(box=["0", 0, 1, 1]), ("elements[0].box[0]", "float_type")),
        (element(type="text"), ("elements[0]", "element")),
        (element(label=""), ("elements[0]", "element")),
        (element(colours=["#d8342c"]), ("elements[0].colours[0]", "string_pattern_mismatch")),
        (element(mask={"counts": [1], "size": [2, 2]}), ("elements[0].mask", "mask")),
        (element(score=1.5), ("elements[0].score", "less_than_equal")),
        (MINIMAL | {"palette": [{"hex": "#FFFFFF", "weight": 999}]}, ("", "palette")),
        (
            MINIMAL | {"relations": [{"subject": "x", "text": "on", "object": "y"}]},
            ("", "relations"),
        ),
    ],
)
def test_each_broken_rule_has_its_path_and_code(form, expected):
    assert expected in codes(form)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('{"format":"kaleido.z","version":1,"version":1}', ("version", "duplicate-key")),
        (b"\xff\xfe{}", ("", "encoding")),
        ("{", ("", "syntax")),
        ("", ("", "syntax")),
        ("[" * 100_000 + "]" * 100_000, ("", "depth")),
        ('{"extra":' + "[" * 70 + "]" * 70 + "}", ("extra" + "[0]" * 64, "depth")),
        ('{"version":NaN}', ("version", "number")),
        ('{"version":1e999}', ("version", "number")),
        ('{"version":' + "9" * 5000 + "}", ("version", "number")),
        ('{"description":"\\ud800"}', ("description", "surrogate")),
        ('"' + "a" * (65 * 2**20) + '"', ("", "size")),
    ],
)
def test_json_that_would_mislead_a_reader_is_refused(text, expected):
    assert expected in codes(text)


def test_all_problems_are_listed_not_only_the_first():
    form = element(box=[0, 0, 2, 1], score=3, colours=["red"])
    assert len(codes(form)) == 3


def test_the_error_of_reading_carries_every_problem():
    with pytest.raises(InvalidDocument) as caught:
        read_document(json.dumps(element(score=3, colours=["red"])), "a.z.json")
    assert caught.value.what == "a.z.json" and len(caught.value.problems) == 2


def test_the_schema_says_what_the_reader_says():
    validator = jsonschema.Draft202012Validator(json_schema())
    validator.check_schema(validator.schema)
    assert validator.is_valid(json.loads(EXAMPLE))
    for form in (
        MINIMAL | {"description": None},
        MINIMAL | {"colour": 1},
        element(box=[0, 0, 1, 2]),
        element(colours=["#d8342c"]),
        {"version": 1},
    ):
        assert not validator.is_valid(form)


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=50)
fractions = st.floats(0, 1, width=32)
boxes = st.tuples(fractions, fractions, fractions, fractions).filter(
    lambda b: b[0] < b[2] and b[1] < b[3]
)
elements = st.builds(
    Element,
    id=st.just("e"),
    label=texts.filter(bool),
    description=st.none() | texts,
    box=st.none() | boxes,
    colours=st.none() | st.lists(st.from_regex(r"\A#[0-9A-F]{6}\Z"), max_size=16).map(tuple),
    score=st.none() | fractions,
)
documents = st.builds(
    Document,
    description=st.none() | texts,
    background=st.none() | texts,
    elements=st.none()
    | st.lists(elements, max_size=5).map(
        lambda rows: tuple(r.model_copy(update={"id": f"e{i}"}) for i, r in enumerate(rows))
    ),
)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(documents)
def test_every_document_survives_its_own_text(document):
    text = document.to_json()
    if any(
        round(e.box[0], 8) >= round(e.box[2], 8) or round(e.box[1], 8) >= round(e.box[3], 8)
        for e in document.elements or ()
        if e.box
    ):
        return  # narrower than a hundredth of a pixel: the canonical form cannot hold it
    again = read_document(text)
    assert again.to_json() == text
    for before, after in zip(document.elements or (), again.elements or (), strict=True):
        assert before.label == after.label and before.colours == after.colours
        if before.box:
            assert all(
                math.isclose(a, b, abs_tol=1e-8) for a, b in zip(before.box, after.box, strict=True)
            )


hostile = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.sampled_from(["e0", "#FFFFFF", "kaleido.z", 1]),
    lambda inner: (
        st.lists(inner, max_size=5)
        | st.dictionaries(
            st.sampled_from(
                [
                    "format",
                    "version",
                    "elements",
                    "box",
                    "id",
                    "label",
                    "palette",
                    "hex",
                    "weight",
                    "mask",
                ]
            )
            | st.text(),
            inner,
            max_size=5,
        )
    ),
    max_leaves=20,
)


@given(hostile)
def test_whatever_json_is_given_it_is_read_or_its_problems_are_listed(value):
    form = MINIMAL | value if isinstance(value, dict) else value
    codes(json.dumps(form))


def test_repeated_keys_are_found_in_time_that_grows_with_their_number():
    text = "{" + ",".join(f'"k{number // 2}":0' for number in range(200_000)) + "}"
    start = time.perf_counter()
    _, problems = parse(text)
    assert time.perf_counter() - start < 20
    assert len(problems) == 100_000 and {problem.code for problem in problems} == {"duplicate-key"}

"""Given z: which lines are samples, which are documents, and what each picture is drawn with."""

from __future__ import annotations

import json

import pytest

from pipelines.core.errors import KaleidoError
from pipelines.sample.requests import ZRequest, name_of, read_requests

Z = "<boxes> star <100><100><300><300>"
KINDS = ("boxes", "blobs", "palette")
STAR = {"id": "e0", "type": "object", "label": "star", "box": [0.1, 0.1, 0.3, 0.3]}


def sample(**changes: object) -> str:
    return json.dumps({"file": "a.png", "caption": "a star", "z": Z, "index": 3} | changes)


def document(**changes: object) -> str:
    return json.dumps({"format": "kaleido.z", "version": 1, "elements": [STAR]} | changes)


def read(*lines: str, **options: object) -> list[ZRequest]:
    return read_requests("\n".join(lines).encode(), "asked", KINDS, **options).items


def refused(*lines: str, **options: object) -> KaleidoError:
    with pytest.raises(KaleidoError) as caught:
        read(*lines, **options)
    return caught.value


def test_samples_keep_their_number_and_documents_are_counted() -> None:
    lines = [sample(), "", document(caption="two"), sample(index=0, caption="one")]
    assert read(*lines) == [
        ZRequest("a star", Z, 3),
        ZRequest("two", Z, 1),
        ZRequest("one", Z, 0),
    ]


def test_a_caption_of_the_command_goes_first() -> None:
    found = read(sample(), document(caption="two"), document(), caption="all")
    assert [each.caption for each in found] == ["all"] * 3


def test_a_document_without_a_caption_needs_one() -> None:
    error = refused(sample(), document())
    assert (error.code, error.what) == ("bad-data", "asked, line 2")
    (found,) = read(document(), needs_caption=False)
    assert found == ZRequest("", Z, 0)


def test_one_document_may_take_many_lines() -> None:
    text = json.dumps(json.loads(document(caption="two")), indent=1)
    assert read(text) == [ZRequest("two", Z, 0)]
    broken = json.dumps(json.loads(document(elements=[{}])), indent=1)
    error = refused(broken)
    assert error.what == "asked" and "elements[0]" in error.why


@pytest.mark.parametrize("changes", [{"z": ""}, {"z": 1}, {"index": "3"}, {"file": None}])
def test_other_rows_are_no_samples(changes: dict[str, object]) -> None:
    assert refused(sample(), sample(**changes)).what == "asked, line 2"


def test_a_sample_with_an_empty_caption_is_named() -> None:
    error = refused(sample(), sample(caption=" "))
    assert (error.code, error.what) == ("bad-data", "asked, line 2")


def test_a_document_of_other_kinds_is_refused() -> None:
    found = refused(document(caption="a"), document(caption="a", elements=[]))
    assert (found.code, found.what) == ("bad-data", "asked, line 2")


def test_what_z_cannot_hold_is_told_by_picture() -> None:
    nowhere = {"id": "e1", "type": "object", "label": "circle"}
    lines = [document(caption="a"), document(caption="b", elements=[STAR, nowhere])]
    found = read_requests("\n".join(lines).encode(), "asked", KINDS)
    assert {(number, loss.path) for number, loss in found.lost} == {(1, "elements[1]")}


@pytest.mark.parametrize("data", ["", "\n \n"])
def test_an_empty_file_is_refused(data: str) -> None:
    assert refused(data).what == "asked"


def test_names_of_folders_end_at_the_first_dot() -> None:
    found = [name_of(path) for path in ("a/kite.z.json", "b.jsonl", "c", ".hidden")]
    assert found == ["kite", "b", "c", "samples"]

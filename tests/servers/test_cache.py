import hashlib
import json

import pytest

from pipelines.servers.cache import SUFFIX, AnswerCache
from pipelines.servers.reply import Reply

REPLY = Reply("first line\nsecond “line” 图", cut=True, tokens_in=5, tokens_out=7)


def key(number: int) -> str:
    return hashlib.sha256(str(number).encode()).hexdigest()


def filled(folder, count=3) -> AnswerCache:
    cache = AnswerCache(folder)
    for number in range(count):
        cache.put(key(number), Reply(f"answer {number}"))
    return cache


def test_answers_come_back_in_this_process_and_the_next(tmp_path):
    cache = AnswerCache(tmp_path / "new")
    assert cache.get(key(0)) is None and not (tmp_path / "new").exists()
    cache.put(key(0), REPLY)
    cache.put(key(1), Reply(""))
    assert cache.get(key(0)) == REPLY and cache.get(key(1)) == Reply("")
    again = AnswerCache(tmp_path / "new")  # while the first is still open, as after a kill
    assert again.get(key(0)) == REPLY and len(again) == 2 and again.get(key(2)) is None
    again.put(key(3), REPLY)
    again.close()
    cache.close()
    cache.put(key(2), REPLY)
    cache.close()
    assert cache.get(key(0)) == cache.get(key(2)) == REPLY
    last = AnswerCache(tmp_path / "new")
    assert last.get(key(2)) == last.get(key(3)) == REPLY and len(last) == 4
    assert len(list((tmp_path / "new").iterdir())) == 2, "each writer has a file of its own"


def test_what_is_forgotten_stays_forgotten_until_it_is_answered_again(tmp_path):
    filled(tmp_path).close()
    other = AnswerCache(tmp_path)
    other.forget(key(1))
    other.forget(key(7))  # never known
    assert other.get(key(1)) is None and len(other) == 2
    other.close()
    last = AnswerCache(tmp_path)
    assert [last.get(key(n)) is not None for n in range(3)] == [True, False, True]
    last.put(key(1), REPLY)
    last.close()
    assert AnswerCache(tmp_path).get(key(1)) == REPLY


@pytest.mark.parametrize("cut", range(1, 40, 7))
def test_a_line_that_a_kill_has_cut_does_not_count(tmp_path, cut):
    filled(tmp_path).close()
    (path,) = tmp_path.iterdir()
    path.write_bytes(path.read_bytes()[:-cut])
    cache = AnswerCache(tmp_path)
    assert [cache.get(key(n)) is not None for n in range(3)] == [True, True, False]
    cache.put(key(2), REPLY)
    cache.close()
    assert AnswerCache(tmp_path).get(key(2)) == REPLY


@pytest.mark.parametrize(
    "damage",
    [
        {"text": 5},
        {"cut": 1},
        {"tokens_in": "many"},
        {"extra": 1},
    ],
)
def test_a_damaged_answer_counts_as_none(tmp_path, damage):
    line = json.dumps(vars(REPLY) | damage)
    (tmp_path / f"other{SUFFIX}").write_text(f"{key(0)} {line}\nnonsense\n{'g' * 64} {{}}\n\n")
    assert AnswerCache(tmp_path).get(key(0)) is None


def test_files_of_others_are_left_alone(tmp_path):
    (tmp_path / "notes.txt").write_text(f"{key(0)} {json.dumps(vars(REPLY))}\n")
    (tmp_path / f"link{SUFFIX}").symlink_to(tmp_path / "notes.txt")
    assert len(AnswerCache(tmp_path)) == 0

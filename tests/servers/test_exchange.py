import email.utils
import time

import pytest

from pipelines.core.backoff import jitter, retry_after

MAX_WAIT = 300.0


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        (None, None),
        ("2", 2),
        ("0.5", 0.5),
        ("-3", 0),
        ("1e9", MAX_WAIT),
        ("soon", None),
        ("1" * 5000, MAX_WAIT),
        ("inf", MAX_WAIT),
        ("5, 6", None),
        ("Fri, 31 Dec 9999 23:59:59 GMT", MAX_WAIT),
        ("Mon, 01 Jan 0001 00:00:00 -0000", 0),
        ("Wed, 21 Oct 99999 07:28:00 GMT", None),
        ("Wed, 99 Oct 2015 07:28:00 GMT", None),
        ("Wed, 21 Oct 2015 07:28:00 +99999999", None),
        ("", None),
    ],
)
def test_the_pause_that_a_server_asks_for(header, seconds):
    assert retry_after(header, MAX_WAIT) == seconds


def test_the_pause_may_be_a_date(monkeypatch):
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    try:
        for later in (
            email.utils.formatdate(time.time() + 20, usegmt=True),
            email.utils.formatdate(time.time() + 20),  # ends with -0000
        ):
            assert 15 < retry_after(later, MAX_WAIT) <= 20
    finally:
        monkeypatch.undo()
        time.tzset()
    assert retry_after("nan", MAX_WAIT) is None
    assert retry_after("Wed, 21 Oct 2015 07:28:00 GMT", MAX_WAIT) == 0


def test_back_off_grows_to_a_bound_and_has_full_jitter():
    assert [jitter(n, 1.0, 1.0) for n in (0, 1, 2, 5, 6, 100)] == [1, 2, 4, 32, 60, 60]
    assert jitter(3, 1.0, 0.0) == 0 and jitter(3, 0.5, 0.5) == 2

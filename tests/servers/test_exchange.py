import email.utils
import time

import pytest

from pipelines.core.backoff import jitter
from pipelines.servers.exchange import MAX_WAIT, wait_of


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        (None, None),
        ("2", 2),
        ("0.5", 0.5),
        ("-3", 0),
        ("1e9", MAX_WAIT),
        ("soon", None),
        ("", None),
    ],
)
def test_the_pause_that_a_server_asks_for(header, seconds):
    assert wait_of(header) == seconds


def test_the_pause_may_be_a_date():
    later = email.utils.formatdate(time.time() + 20, usegmt=True)
    assert 18 < wait_of(later) <= 20
    assert wait_of("nan") is None and wait_of("Wed, 21 Oct 2015 07:28:00 GMT") == 0


def test_back_off_grows_to_a_bound_and_has_full_jitter():
    assert [jitter(n, 1.0, 1.0) for n in (0, 1, 2, 5, 6, 100)] == [1, 2, 4, 32, 60, 60]
    assert jitter(3, 1.0, 0.0) == 0 and jitter(3, 0.5, 0.5) == 2

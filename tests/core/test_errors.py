from __future__ import annotations

import pickle

import pytest

from pipelines.core.errors import BadRecord, InputMissing, KaleidoError, nearest
from pipelines.latents.text import LatentError


@pytest.mark.parametrize("cls", [KaleidoError, InputMissing, BadRecord, LatentError])
def test_an_error_crosses_a_process_border_whole(cls):
    error = pickle.loads(pickle.dumps(cls("a thing", "a reason.", "A mend.")))
    assert type(error) is cls
    assert (error.what, error.why, error.hint) == ("a thing", "a reason.", "A mend.")
    assert str(error) == "a thing: a reason. A mend."


def test_nearest():
    assert nearest("stepz", ["steps", "seed"]) == "Did you mean 'steps'?"
    assert nearest("zzz", ["steps", "seed"]) == "Known: seed, steps."

"""What is required is always in z, and in pictures nearly as often as the judge can find it."""

import pytest

from pipelines.core.errors import KaleidoError
from pipelines.workspace.config import override
from pipelines.workspace.settings import Settings
from recipes.measure_requirements import measure


def test_shares_of_z_pictures_and_real_scenes():
    settings = override(Settings(), {"sample.n": 4, "sample.steps": 4})
    found = measure("star.colour=orange", 1, settings, redraws=1)
    assert found["pictures"] == 4 and found["z"] == 1.0
    assert found["at_once"] <= found["verified"] <= 1.0 <= found["tries"] <= 2.0
    assert found["ceiling"] > 0.9 and found["of_ceiling"] == found["judge"] / found["ceiling"]


def test_what_the_toy_world_does_not_know_is_refused():
    with pytest.raises(KaleidoError) as caught:
        measure("moon.colour=orange", 1, Settings(), redraws=0)
    assert caught.value.code == "cannot-require"

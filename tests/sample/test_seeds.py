"""The seeds of samples depend on their own purpose, number and caption."""

from __future__ import annotations

from pipelines.core.seeds import derive
from pipelines.sample.seeds import seeds_of
from pipelines.workspace.settings import SampleSettings


def test_z_and_noise_have_seeds_of_their_own() -> None:
    settings = SampleSettings(seed=10, z_seed=3, noise_seed=5)
    for purpose, seed in (("z", 13), ("z candidate 1", 13), ("noise", 15), ("second noise", 15)):
        expected = [derive(seed, purpose, f"{number}:a star") for number in (4, 7)]
        assert seeds_of(settings, purpose, "a star", [4, 7]) == expected

import json
from dataclasses import replace

import numpy as np
import pytest

from pipelines.core.errors import KaleidoError
from pipelines.core.images import decode_image
from pipelines.latents.sequence import z_from_text
from pipelines.plan.pictures import sample_diverse
from pipelines.plan.plan import plan
from pipelines.sample.bundle import load_bundle
from pipelines.sample.draw import draw
from pipelines.workspace.config import override

CAPTIONS, POOL, COUNT = ["a star", "two circles"], 6, 2


def test_pictures_are_those_of_the_whole_pool(workspace):
    changes = {"sample.n": COUNT, "sample.steps": 2, "sample.seed": 5}
    workspace = replace(workspace, settings=override(workspace.settings, changes))
    kinds = ("boxes", "palette")
    summary = sample_diverse(workspace, CAPTIONS, POOL, "varied", kinds)
    assert (summary.samples, summary.captions) == (4, 2)
    lines = (summary.folder / "samples.jsonl").read_text().splitlines()
    rows = [json.loads(line) for line in lines]
    bundle = load_bundle(workspace).drawing(kinds)
    settings = workspace.settings.sample
    for number, (caption, choice) in enumerate(zip(CAPTIONS, summary.choices, strict=True)):
        plans, gain = plan(bundle.prior, caption, kinds, settings, POOL)
        assert choice.indices == [each.index for each in plans] and choice.gain == gain
        own = rows[COUNT * number : COUNT * (number + 1)]
        assert [row["index"] for row in own] == choice.indices
        everything = list(draw(bundle, caption, replace(settings, n=POOL)))
        for row in own:
            same = everything[row["index"]]
            assert z_from_text(row["z"]) == z_from_text(same.z) and row["caption"] == caption
            pixels = decode_image((summary.folder / row["file"]).read_bytes()).astype(int)
            # A batch of another size rounds differently, by one level at most.
            assert np.abs(pixels - same.pixels).max() <= 1
    assert any(choice.indices != [0, 1] for choice in summary.choices), "else nothing was tested"


def test_a_pool_smaller_than_the_choice_is_refused(workspace):
    with pytest.raises(KaleidoError) as caught:
        sample_diverse(workspace, CAPTIONS, 3)
    assert caught.value.code == "bad-option"
    assert not (workspace.root / "samples").exists()

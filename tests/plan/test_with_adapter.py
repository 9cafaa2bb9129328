"""`kaleido sample --base --adapter`: z reaches the base beside its prompt."""

from __future__ import annotations

import json

import numpy as np
import pytest

from pipelines.core.images import decode_image
from pipelines.workspace.workspace import Workspace
from tests.bases.test_adapter import fresh, opened

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

CAPTION = "two circles and a star"


@pytest.fixture
def draw(invoke, base_folder, tmp_path):
    """Return a function that draws with Sana: it returns rows, pictures and messages."""

    def run(to, *arguments):
        out = tmp_path / to
        quick = ("--steps", "2", "--n", "2", "--size", "64", "--out", str(out))
        said = invoke("sample", CAPTION, "--base", str(base_folder("sana")), *quick, *arguments)
        rows = [json.loads(line) for line in (out / "samples.jsonl").read_text().splitlines()]
        files = [out / row["file"] for row in rows]
        drawn = np.stack([decode_image(file.read_bytes(), file.name) for file in files])
        return rows, drawn, said.err

    return run


def test_the_prompt_is_the_caption_and_z_goes_to_the_adapter(draw, loaded, tmp_path):
    base = loaded("sana")
    fresh(base).save_pretrained(tmp_path / "untrained")
    opened(base).save_pretrained(tmp_path / "trained")
    _, plain, silent = draw("plain", "--baseline")
    rows, same, said = draw("same", "--adapter", str(tmp_path / "untrained"))
    assert [row["prompt"] for row in rows] == [CAPTION] * 2
    assert "The adapter reads boxes;" in said and "adapter" not in silent
    np.testing.assert_array_equal(same, plain)
    rows, drawn, _ = draw("drawn", "--adapter", str(tmp_path / "trained"))
    assert (drawn != plain).any((1, 2, 3)).all()
    assert len(rows[0]["base"]["adapter"]) == 64
    _, alone, _ = draw("alone", "--adapter", str(tmp_path / "trained"), "--baseline")
    np.testing.assert_array_equal(alone, plain)


def test_an_adapter_that_does_not_fit_is_refused(invoke, loaded, base_folder, tmp_path):
    fresh(loaded("sana")).save_pretrained(tmp_path / "adapter")
    asked = ("sample", CAPTION, "--n", "1", "--out", str(tmp_path / "out"))
    invoke(
        *asked, "--base", str(base_folder("sd3")), "--adapter", str(tmp_path / "adapter"), code=1
    )
    invoke(*asked, "--adapter", str(tmp_path / "adapter"), code=2)
    assert not (tmp_path / "out").exists()


def test_an_adapter_of_the_workspace_is_found_from_elsewhere(invoke, loaded, base_folder, tmp_path):
    workspace = Workspace.init(tmp_path / "workspace")
    fresh(loaded("sana")).save_pretrained(workspace.models("adapter"))
    flags = ("--base", str(base_folder("sana")), "--workspace", str(workspace.root))
    asked = ("sample", CAPTION, *flags, "--n", "1", "--steps", "1", "--size", "64")
    invoke(*asked, "--name", "drawn", "--adapter", "models/adapter")
    assert (workspace.samples("drawn") / "samples.jsonl").is_file()
    missing = invoke(*asked, "--name", "none", "--adapter", "./models/adapter.old", code=1)
    assert "no such folder" in missing.err and "plans" not in missing.err

"""Missing inputs are told with the command that makes them."""

from __future__ import annotations

import subprocess
import sys

import pytest

from pipelines.core.errors import InputMissing
from pipelines.extract.run import extract
from pipelines.scenes.generate import write_scenes
from pipelines.workspace.inputs import require_data, training_kinds
from pipelines.workspace.reader import extracted_kinds


def test_without_data(workspace):
    assert extracted_kinds(workspace, []) == ()
    for check in (require_data, lambda ws: training_kinds(ws, ("boxes",))):
        with pytest.raises(InputMissing) as caught:
            check(workspace)
        assert "kaleido data folder" in caught.value.hint


def test_scenes_without_latents_name_extract_all(workspace):
    write_scenes(workspace, 2, seed=1)
    with pytest.raises(InputMissing) as caught:
        training_kinds(workspace, ("boxes", "palette"))
    assert "boxes, palette" in caught.value.what
    assert "kaleido extract all" in caught.value.hint


def test_own_pictures_without_latents_name_the_palette(workspace, write_data, records):
    write_data(records, 10)
    with pytest.raises(InputMissing) as caught:
        training_kinds(workspace, ("boxes",))
    assert "kaleido extract palette" in caught.value.hint


@pytest.mark.parametrize("asked", [(), ("palette", "boxes")])
def test_without_a_choice_all_that_was_extracted_is_taken(workspace, asked):
    write_scenes(workspace, 4, seed=1)
    with pytest.raises(InputMissing):
        training_kinds(workspace, asked)
    extract(workspace, ("palette", "boxes"))
    assert training_kinds(workspace, asked) == ("boxes", "palette")
    known = training_kinds(workspace, asked, of_prior=("palette",))
    assert known == (("boxes", "palette") if asked else ("palette",))


def test_kinds_that_exist_are_offered(workspace, write_data, records):
    write_data(records, 10)
    extract(workspace, ("palette",))
    assert extracted_kinds(workspace, workspace.data_shards()) == ("palette",)
    assert training_kinds(workspace, ("palette",)) == ("palette",)
    with pytest.raises(InputMissing) as caught:
        training_kinds(workspace, ("boxes", "palette"))
    assert caught.value.what == "latents boxes"
    assert "--z palette" in caught.value.hint


def test_import_is_light():
    code = (
        "import sys, pipelines.workspace.inputs, pipelines.models.metadata\n"
        "import pipelines.sample.folder, kaleido_cli.next_step\n"
        "print([m for m in ('torch', 'numpy', 'pyarrow', 'PIL') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.strip() == "[]"

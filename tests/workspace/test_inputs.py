"""Missing inputs are told with the command that makes them."""

from __future__ import annotations

import subprocess
import sys

import pytest

from pipelines.core.errors import InputMissing
from pipelines.extract.run import extract
from pipelines.scenes.generate import write_scenes
from pipelines.workspace.inputs import extracted_kinds, require_data, require_extracted


def test_without_data(workspace):
    assert extracted_kinds(workspace) == []
    for check in (require_data, lambda ws: require_extracted(ws, ("boxes",))):
        with pytest.raises(InputMissing) as caught:
            check(workspace)
        assert "kaleido data folder" in caught.value.hint


def test_scenes_without_latents_name_extract_all(workspace):
    write_scenes(workspace, 2, seed=1)
    require_extracted(workspace, ())
    with pytest.raises(InputMissing) as caught:
        require_extracted(workspace, ("boxes", "palette"))
    assert "boxes, palette" in caught.value.what
    assert "kaleido extract all" in caught.value.hint


def test_own_pictures_without_latents_name_the_palette(workspace, write_data, records):
    write_data(records, 10)
    with pytest.raises(InputMissing) as caught:
        require_extracted(workspace, ("boxes",))
    assert "kaleido extract palette" in caught.value.hint


def test_kinds_that_exist_are_offered(workspace, write_data, records):
    write_data(records, 10)
    extract(workspace, ("palette",))
    assert extracted_kinds(workspace) == ["palette"]
    require_extracted(workspace, ("palette",))
    with pytest.raises(InputMissing) as caught:
        require_extracted(workspace, ("boxes", "palette"))
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

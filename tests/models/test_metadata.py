from __future__ import annotations

import subprocess
import sys

import pytest

from pipelines.core.errors import InputMissing, KaleidoError
from pipelines.models.metadata import (
    METADATA,
    captioner_metadata,
    read_metadata,
    tokenizer_metadata,
    write_metadata,
)


def test_what_is_noted_is_read(tmp_path):
    noted = {"identity": "0f", "labels": ["a", "b"], "shape": None}
    write_metadata(tmp_path, noted)
    assert [path.name for path in tmp_path.iterdir()] == [METADATA]
    assert read_metadata(tmp_path, "model", "") == noted


@pytest.mark.parametrize("read", [captioner_metadata, tokenizer_metadata])
def test_a_folder_without_is_no_model(tmp_path, read):
    with pytest.raises(InputMissing) as caught:
        read(tmp_path)
    assert caught.value.what == str(tmp_path)
    write_metadata(tmp_path, {"image_size": 64})
    with pytest.raises(KaleidoError) as other:
        read(tmp_path)
    assert other.value.code == "bad-model"


def test_a_stage_is_planned_without_its_weights(tmp_path):
    """Workers load them; the process that hands out the work does not even import torch."""
    write_metadata(tmp_path, {"identity": "0f"})
    program = f"""
import sys
from pathlib import Path
from pipelines.extract.tokenizers.find import own_tokenizer
from pipelines.extract.descriptions import DescriptionsStage
from pipelines.extract.tokens import TokensStage
folder = Path({str(tmp_path)!r})
assert DescriptionsStage(folder).spec.options == {{"captioner": "0f"}}
assert TokensStage(own_tokenizer(folder)).spec.options == {{"tokenizer": "0f"}}
assert not {{"torch", "transformers", "diffusers"}} & set(sys.modules)
"""
    subprocess.run([sys.executable, "-c", program], check=True)

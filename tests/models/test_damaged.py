"""Model folders that are damaged, incomplete or unsafe give an error with a code, no traceback."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from pipelines.core.errors import KaleidoError
from pipelines.latents.vocabulary import train_tokenizer
from pipelines.models.diffusion import Diffusion, build_diffusion
from pipelines.models.metadata import METADATA
from pipelines.models.new_prior import build_prior
from pipelines.models.prior import Prior
from pipelines.models.safe_folder import model_files
from pipelines.models.tokenizer import Tokenizer, build_tokenizer
from pipelines.workspace.settings import DiffusionSettings, PriorSettings, TokenizerSettings

LOADERS: dict[str, Callable[[Path], Any]] = {
    "prior": Prior.load,
    "diffusion": Diffusion.load,
    "tokenizer": Tokenizer.load,
}
POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:0f\nsize 5\n"


@pytest.fixture(scope="module")
def saved(tmp_path_factory) -> Path:
    """Return a folder with a tiny model of each class."""
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("models")
    settings = PriorSettings(d_model=16, d_ff=16, layers=1, heads=2, z_kinds=("boxes",))
    prior = build_prior(settings, train_tokenizer(["a red circle"], 1500), ("circle",))
    prior.save(folder / "prior")
    sizes = DiffusionSettings(image_size=16, layers=1, heads=2, head_dim=8, pixel_channels=8)
    build_diffusion(sizes, prior, ("boxes",)).save(folder / "diffusion")
    build_tokenizer(TokenizerSettings(channels=(8,), codebook_size=16), 16).save(
        folder / "tokenizer"
    )
    return folder


def _damages(path: Path) -> dict[str, Callable[[], None]]:
    data = path.read_bytes()
    return {
        "removed": path.unlink,
        "empty": lambda: path.write_bytes(b""),
        "cut": lambda: path.write_bytes(data[: len(data) // 2]),
        "one byte short": lambda: path.write_bytes(data[:-2]),
        "pointer": lambda: path.write_bytes(POINTER),
        "noise": lambda: path.write_bytes(bytes(range(256))),
        "list": lambda: path.write_bytes(b"[1, 2]"),
        "deep": lambda: path.write_bytes(b"[" * 100_000),
    }


@pytest.mark.parametrize("name", LOADERS)
def test_every_damage_of_every_file_gives_a_code(saved, tmp_path, name) -> None:
    files = [path.relative_to(saved) for path in model_files(saved / name)]
    assert len(files) >= 3
    for file in files:
        for damage in _damages(saved / file):
            shutil.copytree(saved / name, tmp_path / name, dirs_exist_ok=True)
            _damages(tmp_path / file)[damage]()
            try:
                LOADERS[name](tmp_path / name)
            except KaleidoError as error:
                codes = ("input-missing",) if file.name == METADATA else ()
                assert error.code in ("bad-model", *codes), (file, damage, error)
            else:  # what is not needed may be missing
                assert damage == "removed", (file, damage)
                assert file.name in ("generation_config.json", "tokenizer_config.json"), file
            shutil.rmtree(tmp_path / name)


@pytest.mark.parametrize("name", LOADERS)
@pytest.mark.parametrize("value", [None, 5, -1.5, "x", [], [[1]], {"a": 1}])
def test_metadata_of_another_type_gives_a_code(saved, tmp_path, name, value) -> None:
    shutil.copytree(saved / name, tmp_path / name)
    path = tmp_path / name / METADATA
    metadata = json.loads(path.read_text())
    for key, right in metadata.items():
        if type(value) is type(right) or (key == "token_shape" and value is None):
            continue
        if (key, value) == ("noise_shift", 5):
            continue
        path.write_text(json.dumps(metadata | {key: value}))
        with pytest.raises(KaleidoError) as caught:
            LOADERS[name](tmp_path / name)
        assert caught.value.code == "bad-model"
        path.write_text(json.dumps({each: metadata[each] for each in metadata if each != key}))
        try:
            LOADERS[name](tmp_path / name)
        except KaleidoError as error:
            assert error.code == "bad-model"
    path.write_text(json.dumps(metadata | {"flavour": "sweet"}))
    with pytest.raises(KaleidoError) as caught:
        LOADERS[name](tmp_path / name)
    assert caught.value.code == "bad-model"


@pytest.mark.parametrize("name", LOADERS)
def test_a_folder_that_names_code_is_refused(saved, tmp_path, name) -> None:
    shutil.copytree(saved / name, tmp_path / name)
    for path in (tmp_path / name).rglob("config.json"):
        config = json.loads(path.read_text())
        (path.parent / "evil.py").write_text("raise SystemExit('the code ran')")
        path.write_text(
            json.dumps(config | {"model_type": "new", "auto_map": {"AutoConfig": "evil.Config"}})
        )
    with pytest.raises(KaleidoError) as caught:
        LOADERS[name](tmp_path / name)
    assert caught.value.code == "unsafe-model"


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no pipes in this file system")
def test_a_pipe_in_a_folder_is_not_waited_for(saved, tmp_path) -> None:
    shutil.copytree(saved / "prior", tmp_path / "prior")
    os.mkfifo(tmp_path / "prior" / "notes.txt")
    with pytest.raises(KaleidoError) as caught:
        Prior.load(tmp_path / "prior")
    assert caught.value.code == "bad-model"

"""The public Python API: light to import, complete, typed, and its examples run."""

from __future__ import annotations

import ast
import inspect
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import kaleido_diffusion

ROOT = Path(__file__).parents[2]
SOURCE = (ROOT / "kaleido_diffusion" / "__init__.py").read_text("utf-8")


def test_import_is_light():
    code = (
        "import sys, kaleido_diffusion\n"
        "dir(kaleido_diffusion)\n"
        "print([m for m in ('torch', 'numpy', 'pyarrow', 'PIL', 'pipelines') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, timeout=60
    )
    assert done.stdout.strip() == "[]", done.stderr


@pytest.mark.parametrize("name", kaleido_diffusion.__all__)
def test_every_name_is_documented_and_typed(name):
    value = getattr(kaleido_diffusion, name)
    assert inspect.getdoc(value)
    if inspect.isfunction(value):
        for parameter in inspect.signature(value).parameters.values():
            assert parameter.annotation is not parameter.empty, parameter


def test_type_checkers_see_the_same_names():
    tree = ast.parse(SOURCE)
    [block] = [node for node in tree.body if isinstance(node, ast.If)]
    seen = {
        alias.name: node.module
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    lazy = {attribute: module for module, attribute in kaleido_diffusion._PLACES.values()}
    assert seen == lazy
    assert kaleido_diffusion.__all__ == sorted(kaleido_diffusion._PLACES)


def test_an_unknown_name_and_the_version():
    with pytest.raises(AttributeError, match="no attribute 'sampel'"):
        _ = kaleido_diffusion.sampel
    assert re.fullmatch(r"\d+\.\d+.*", kaleido_diffusion.__version__)
    assert {"sample", "__version__"} <= set(dir(kaleido_diffusion))


@pytest.mark.parametrize("package", ["kaleido_cli", "kaleido_diffusion", "pipelines"])
def test_packages_say_that_they_are_typed(package):
    assert (ROOT / package / "py.typed").is_file()


@pytest.fixture
def pictures(tmp_path) -> Path:
    """A folder of twelve pictures with captions."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    for index in range(12):
        pixels = np.full((32, 32, 3), (20 * index, 90, 250 - 20 * index), np.uint8)
        Image.fromarray(pixels).save(folder / f"{index}.png")
        (folder / f"{index}.txt").write_text(f"picture number {index}")
    return folder


def run(example: str, *arguments: object, cwd: Path) -> str:
    done = subprocess.run(
        [sys.executable, str(ROOT / "examples" / example), *map(str, arguments)],
        capture_output=True,
        text=True,
        cwd=cwd,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
def test_own_pictures_can_be_run_twice(pictures, tmp_path):
    for _ in range(2):
        out = run("own_pictures.py", pictures, tmp_path / "ws", "picture", 2, cwd=tmp_path)
        assert Path(out.splitlines()[-1]).is_file()


def test_reading_z(tmp_path):
    out = run("read_z.py", tmp_path / "p", cwd=tmp_path)
    assert [path.name for path in sorted((tmp_path / "p").iterdir())] == [
        f"{i}.png" for i in range(4)
    ]
    assert out.count("star") >= 2


def test_editing_z(tmp_path):
    run("edit_z.py", tmp_path / "p", cwd=tmp_path)
    pixels = np.asarray(Image.open(tmp_path / "p" / "before-after.png"))
    before, after = np.hsplit(pixels, 2)
    assert (before != after).any()


def test_the_pages_example_can_be_run_twice(pictures, tmp_path, monkeypatch, capsys):
    """Its first lines, up to training: those are run by `own_pictures.py`."""
    monkeypatch.chdir(tmp_path)
    page = (ROOT / "docs" / "how-to" / "script.md").read_text("utf-8")
    code, *_ = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    first = code.partition("train_prior(")[0]
    for _ in range(2):
        exec(compile(first, "script.md", "exec"), {})
    assert "12" in capsys.readouterr().out

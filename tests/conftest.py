"""Fixtures shared by several folders of tests."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pytest
from hypothesis import settings
from typer.testing import CliRunner

from kaleido_cli.app import app
from pipelines.core import plugins
from pipelines.core.fingerprint import fingerprint
from pipelines.core.images import encode_png
from pipelines.core.progress import Progress
from pipelines.core.record import Record
from pipelines.core.seeds import generator
from pipelines.latents import registry
from pipelines.workspace.manifest import Manifest, RowOutcome, count_outcomes, write_manifest
from pipelines.workspace.shards import record_row, write_shard
from pipelines.workspace.workspace import Workspace
from tests.stand_in_hub import TOKEN, Hub, serving

if TYPE_CHECKING:
    from pipelines.bases.base import Base

# On a busy machine an example may take any time; a hang is found by the time limit of the run.
settings.register_profile("kaleido", deadline=None)
settings.load_profile("kaleido")

WriteData = Callable[[Sequence[Record], int], None]


class Told(Progress):
    """A listener that records messages."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def message(self, text: str) -> None:
        """Record a message."""
        self.said.append(text)


@pytest.hookimpl(tryfirst=True)  # before its fixtures, which may need the GPU as well
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip tests that need a GPU where there is none."""
    if item.get_closest_marker("gpu"):
        import torch

        if not torch.cuda.is_available():
            pytest.skip("there is no CUDA device")


@pytest.fixture
def no_gpu(monkeypatch) -> Callable[[], AbstractContextManager[None]]:
    """Return a context manager that hides the GPU from this process."""
    import torch

    @contextmanager
    def hidden() -> Iterator[None]:
        with monkeypatch.context() as patch:
            patch.setattr(torch.cuda, "is_available", lambda: False)
            yield

    return hidden


class Said(NamedTuple):
    """The output of a command on stdout and stderr."""

    out: str
    err: str


@pytest.fixture
def invoke() -> Callable[..., Said]:
    """Return a function that runs a command in this process and checks its exit code."""

    def run(*arguments: str, code: int = 0) -> Said:
        result = CliRunner(env={"COLUMNS": "200"}).invoke(app, arguments)
        if result.exception and not isinstance(result.exception, SystemExit):
            raise result.exception
        assert result.exit_code == code, result.stderr
        return Said(result.stdout, result.stderr)

    return run


class Site:
    """A folder that Python imports from, with packages as pip installs them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def install(self, package: str, groups: dict[str, dict[str, str]], **modules: str) -> None:
        """Write a package's modules, and its dist-info with the entry points in `groups`."""
        for module, text in modules.items():
            (self.folder / f"{module}.py").write_text(text, "utf-8")
        info = self.folder / f"{package.replace('-', '_')}-0.1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 0.1.0\n")
        lines = [
            line
            for group, names in groups.items()
            for line in (f"[{group}]", *(f"{name} = {value}" for name, value in names.items()))
        ]
        (info / "entry_points.txt").write_text("\n".join(lines) + "\n")
        self.forget()

    def forget(self) -> None:
        """Make the next look-up read the entry points again."""
        plugins._scan.cache_clear()
        registry._plugin_class.cache_clear()


@pytest.fixture
def site(tmp_path, monkeypatch) -> Iterator[Site]:
    """Return an empty `Site`; its modules and entry points are forgotten afterwards."""
    folder = tmp_path / "site"
    folder.mkdir()
    monkeypatch.syspath_prepend(str(folder))
    site = Site(folder)
    yield site
    for name, module in list(sys.modules.items()):
        if str(folder) in str(getattr(module, "__file__", "")):
            del sys.modules[name]
    site.forget()


@pytest.fixture
def workspace(tmp_path) -> Workspace:
    """Return an empty workspace."""
    return Workspace.init(tmp_path / "workspace")


@pytest.fixture
def records() -> list[Record]:
    """Return ten records with PNG images of 16 x 16 pixels: one colour each, and a little noise."""
    return [_record(index) for index in range(10)]


def _record(index: int) -> Record:
    rng = generator(0, "fixture", index)
    colour = rng.integers(20, 235, size=3)
    pixels = (colour + rng.integers(-5, 6, size=(16, 16, 3))).astype(np.uint8)
    meta = {"source": "fixture", "licence": "CC0-1.0", "split": "train"}
    return Record(f"r{index:03d}", encode_png(pixels), f"drawing number {index}", meta)


@pytest.fixture
def write_data(workspace) -> WriteData:
    """Return a function that writes records into the workspace's data shards."""

    def write(records: Sequence[Record], shard_size: int) -> None:
        for number, start in enumerate(range(0, len(records), shard_size)):
            rows = [record_row(record) for record in records[start : start + shard_size]]
            path = workspace.data / f"{number:06d}.tar"
            info = write_shard(path, rows)
            outcomes = [RowOutcome(key, "ok") for key, _ in rows]
            counts = count_outcomes(outcomes)
            mark, stage = fingerprint("fixture", info.sha256), "fixture"
            if rows and records[start].meta.get("source") == "kaleido scenes":
                stage = "scenes"
            write_manifest(path, Manifest(stage, 1, mark, counts, info.sha256), outcomes)

    return write


@pytest.fixture
def hub(monkeypatch, tmp_path) -> Iterator[Hub]:
    """Return a stand-in for the Hugging Face hub, which its client asks."""
    from huggingface_hub import constants

    with serving() as (found, address):
        template = address + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "ENDPOINT", address)
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        yield found


@pytest.fixture(scope="session")
def base_folder(tmp_path_factory) -> Callable[[str], Path]:
    """Return a function from a family's name to the folder of its tiny base, not to be changed."""

    @cache
    def folder(family: str) -> Path:
        from tests.bases.tiny_pipelines import save

        return save(family, tmp_path_factory.mktemp("bases") / family)

    return folder


@pytest.fixture(scope="session")
def dinov2(tmp_path_factory) -> Path:
    """Return a folder with a tiny untrained DINOv2, as transformers saves it."""
    import torch
    from transformers import BitImageProcessor, Dinov2Config, Dinov2Model

    folder = tmp_path_factory.mktemp("networks") / "dinov2"
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    Dinov2Model(Dinov2Config(**sizes, image_size=28, patch_size=14)).save_pretrained(folder)
    side = {"height": 28, "width": 28}
    BitImageProcessor(size={"shortest_edge": 28}, crop_size=side).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def loaded(base_folder) -> Callable[[str], Base]:
    """Return a function from a family's name to its loaded tiny base, not to be changed."""

    @cache
    def load(family: str) -> Base:
        from pipelines.bases.base import load_base

        return load_base(str(base_folder(family)))

    return load

"""`kaleido extract base-states`: captions as the text encoders of a base read them."""

from __future__ import annotations

import shutil
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save

from pipelines.bases.base import load_base
from pipelines.bases.conditions import join
from pipelines.bases.folder import open_folder
from pipelines.bases.registry import FAMILIES
from pipelines.bases.text_states import TextEncoders, condition_of, null_of, states_of
from pipelines.core.stage import Ok
from pipelines.extract.base_states import BaseStatesStage
from pipelines.extract.run import extract
from pipelines.extract.stages import STAGES
from pipelines.latents.base_states import BaseStates
from pipelines.latents.text import LatentError
from pipelines.train.stream import RecordStream

NAMES = [family.name for family in FAMILIES if family.dialect == "words"]


def assert_equal(one: dict[str, Any], other: dict[str, Any]) -> None:
    assert one.keys() == other.keys()
    for name, value in one.items():
        rows = zip(value, other[name], strict=True)
        assert isinstance(value, list) == isinstance(other[name], list)
        assert all(torch.equal(a, b) and a.dtype == b.dtype for a, b in rows)


@pytest.mark.parametrize("name", NAMES)
def test_text_encoders_alone_read_what_the_whole_base_reads(name, loaded, base_folder):
    base = loaded(name)
    encoders = TextEncoders(open_folder(str(base_folder(name))), "fp32")
    alone = encoders.load()
    assert alone.denoiser is None and alone.pipe.vae is None
    with torch.no_grad():
        whole = base.family.encode(base.pipe, ["a red kite"])
        null = base.family.null(base.pipe, None)
    stored = BaseStates.from_bytes(states_of(alone, "a red kite").to_bytes())
    assert_equal(condition_of(stored), whole)
    assert_equal(null_of(encoders), null)
    pictures = load_base(str(base_folder(name)), "fp32", only="pictures")
    assert pictures.pipe.text_encoder is None and pictures.denoiser is not None


def test_half_precision_is_stored_as_it_is(base_folder):
    encoders = TextEncoders(open_folder(str(base_folder("sana"))), "bf16")
    found = condition_of(states_of(encoders.load(), "a"))
    assert found["states"].dtype == torch.bfloat16


def test_another_denoiser_needs_no_other_states(base_folder, tmp_path):
    folder = shutil.copytree(base_folder("sana"), tmp_path / "sana")
    before = TextEncoders(open_folder(str(folder)), "auto").options
    weights = next((folder / "transformer").glob("*.safetensors"))
    weights.write_bytes(weights.read_bytes()[:-4] + b"\0\0\0\1")
    assert TextEncoders(open_folder(str(folder)), "auto").options == before
    assert TextEncoders(open_folder(str(folder)), "bf16").options != before
    weights = next((folder / "text_encoder").glob("*.safetensors"))
    weights.write_bytes(weights.read_bytes()[:-4] + b"\0\0\0\1")
    assert TextEncoders(open_folder(str(folder)), "auto").options != before


@pytest.mark.parametrize("data", [b"", b"prose", b"\x08\0\0\0\0\0\0\0{}      "])
def test_other_bytes_are_no_states(data):
    with pytest.raises(LatentError):
        BaseStates.from_bytes(data)


def test_the_command_needs_a_base_with_adapters(
    workspace, write_data, records, invoke, base_folder
):
    write_data(records, 5)
    flags = ("--workspace", str(workspace.root))
    assert "--base" in invoke("extract", "base-states", *flags, code=1).err
    fibo = str(base_folder("fibo"))
    invoke("extract", "base-states", "--base", fibo, *flags, code=1)
    sana = str(base_folder("sana"))
    assert "10 ok" in invoke("extract", "base-states", "--base", sana, *flags).out
    assert "0 ok" in invoke("extract", "base-states", "--base", sana, *flags).out  # up to date


class Blank(BaseStatesStage):
    """States of SDXL's size, 0.3 MB each, without an encoder."""

    def setup(self) -> None: ...

    def __call__(self, records):
        states = {"states": torch.zeros(1, 77, 2048), "pooled": torch.zeros(1, 1280)}
        data = save({name: value.bfloat16() for name, value in states.items()})
        return [Ok(BaseStates(data)) for _ in records]


@pytest.mark.skipif(sys.platform != "linux", reason="reads the memory in use from /proc")
def test_reading_states_takes_no_more_memory_for_more_of_them(
    workspace, write_data, records, base_folder, monkeypatch
):
    copies = [replace(record, key=f"{record.key}-{n}") for n in range(40) for record in records]
    write_data(copies, 100)
    extract(workspace, ("palette",))
    encoders = TextEncoders(open_folder(str(base_folder("sana"))), "auto")
    monkeypatch.setitem(STAGES, "base-states", lambda context: Blank(encoders))
    extract(workspace, ("base-states",))
    stream = RecordStream(workspace, ("palette",), 0)
    stream.has_states = True
    peaks = []
    for start in range(0, stream.size, 20):
        rows = [condition_of(stream.stored(start + row, "base-states")) for row in range(20)]
        assert join(rows)["states"].shape == (20, 77, 2048)
        peaks.append(memory_in_use())
    assert stream.size == 400  # 126 MB of states
    assert max(peaks) - peaks[2] < 25e6


def memory_in_use() -> int:
    return 4096 * int(Path("/proc/self/statm").read_text("ascii").split()[1])

"""`kaleido export --adapter`, and a push of it to a stand-in hub on the loopback."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from kaleido_diffusion import KaleidoAdapter
from pipelines.bases.adapter_card import AdapterFacts, save_adapter
from pipelines.bases.adapter_lora import LORA_FILE
from pipelines.models.metadata import read_metadata
from tests.bases.test_adapter import Z, opened
from tests.bases.test_families import stock
from tests.stand_in_hub import TOKEN

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


@pytest.fixture
def trained(loaded, tmp_path, monkeypatch):
    """The folder of an adapter for a tiny FLUX.2 klein, as training writes it."""
    monkeypatch.chdir(tmp_path)
    base = loaded("flux2-klein")
    facts = AdapterFacts(5, 100, ["cat", "dog"], [(64, 64)])
    save_adapter(tmp_path / "adapter", replace(base, adapter=opened(base)), facts)
    return tmp_path / "adapter"


def pictures(base, name) -> np.ndarray:
    adapter = KaleidoAdapter.from_pretrained(name).attach(base.pipe)
    try:
        adapter.show(Z)
        return stock(base, 5.0)
    finally:
        adapter.detach()


def test_three_lines_load_what_was_pushed(trained, hub, loaded, invoke, tmp_path):
    base = loaded("flux2-klein")
    flags = ("out", "--adapter", "adapter", "--licence", "CC-BY-4.0")
    said = invoke("export", *flags, "--push-to-hub", "me/klein-z", "--private")
    assert "The adapter is written: out" in said.out and "/me/klein-z/commit/" in said.out
    np.testing.assert_array_equal(pictures(base, "me/klein-z"), pictures(base, trained))

    assert TOKEN not in said.out + said.err
    assert not any(name.startswith(".") for name in hub.files)
    assert {name.rpartition(".")[2] for name in hub.files} == {"json", "md", "safetensors"}
    card = hub.files["README.md"].decode()
    assert "license: cc-by-4.0" in card and "base_model_relation: adapter" in card
    assert "KaleidoAdapter.from_pretrained" in card and str(tmp_path) not in card
    facts = read_metadata(tmp_path / "out", "", "")
    assert facts["made_by"] == "kaleido export" and facts["records"] == 5

    hub.files[LORA_FILE] = b"of an older adapter"
    again = invoke("export", *flags, "--push-to-hub", "me/klein-z")
    assert "is there already" in again.out and LORA_FILE not in hub.files


def test_an_export_of_it_is_an_adapter_that_can_be_exported(trained, invoke, tmp_path):
    shown = json.loads(invoke("export", "out", "--adapter", "adapter", "--json").out)["exported"]
    kept = shown.pop("bytes")
    assert shown == {
        "folder": "out",
        "model": "adapter",
        "source": "adapter",
        "licence": "",
        "equal": False,
    }
    assert kept > 10_000
    invoke("export", "again", "--adapter", "out")
    assert read_metadata(tmp_path / "again", "", "")["records"] == 5


def test_another_card_replaces_it_on_demand_alone(trained, invoke):
    invoke("export", "out", "--adapter", "adapter")
    flags = ("out", "--adapter", "adapter", "--licence", "Apache-2.0")
    assert "--overwrite" in invoke("export", *flags, code=1).err
    invoke("export", *flags, "--overwrite")


def test_what_is_no_adapter_is_refused(trained, invoke, base_folder, tmp_path, hub):
    unet = base_folder("sdxl") / "unet"
    assert (
        "no adapter but a UNet2DConditionModel"
        in invoke("export", "out", "--adapter", str(unet), code=1).err
    )
    (trained / "README.md").unlink()
    assert "no card" in invoke("export", "out", "--adapter", "adapter", code=1).err
    assert "not both" in invoke("export", "o", "--adapter", "adapter", "--baseline", code=2).err
    assert not (tmp_path / "out").exists() and not hub.files


def test_a_repository_with_another_model_is_refused(trained, invoke, hub):
    hub.files = {"config.json": b'{"_class_name": "UNet2DConditionModel"}'}
    flags = ("out", "--adapter", "adapter", "--push-to-hub", "me/klein-z")
    assert "something else than a KaleidoAdapter" in invoke("export", *flags, code=1).err
    assert not hub.commits

"""Plug-ins: the example of the documentation end to end, and what is wrong with bad ones."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path

import pytest

from pipelines.core import plugins
from pipelines.core.errors import KaleidoError
from pipelines.extract.context import StageContext
from pipelines.extract.stages import build_stages
from pipelines.latents.registry import extract_command, latent_class
from pipelines.latents.sequence import order_kinds, z_from_text, z_to_text
from pipelines.latents.text import LatentError
from pipelines.models.prior import Prior
from pipelines.sample.decode import draw_z
from pipelines.scenes.generate import make_records
from pipelines.workspace.manifest import read_manifest
from pipelines.workspace.reader import read_joined
from pipelines.workspace.workspace import Workspace

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "plug-ins.md"
TINY = """
[prior]
d_model = 32
d_ff = 32
layers = 1
heads = 2
steps = 3
batch_size = 4
warmup = 1
"""


def blocks() -> dict[str, str]:
    """The page's files: the name in each code block's first line -> its text."""
    found = re.findall(r"```\w+\n# (\S+)\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
    return dict(found)


@pytest.fixture
def light(site):
    """The example of the page, installed."""
    files = blocks()
    groups = tomllib.loads(files["pyproject.toml"])["project"]["entry-points"]
    site.install("kaleido-light", groups, kaleido_light=files["kaleido_light.py"])
    return site


@pytest.fixture
def scenes(workspace, write_data, monkeypatch) -> Workspace:
    """A workspace of six scenes, the current folder."""
    write_data(list(make_records(6, seed=3)), 3)
    (workspace.root / "kaleido.toml").write_text(TINY)
    monkeypatch.chdir(workspace.root)
    return workspace


def test_the_example_of_the_page_from_extraction_to_drawn_z(light, scenes, invoke):
    summary = json.loads(invoke("extract", "plugin", "light", "--workers", "2", "--json").out)
    assert summary["light"]["ok"] == 6
    assert json.loads(invoke("extract", "plugin", "light", "--json").out)["light"]["skipped"] == 2
    invoke("extract", "boxes", "--model", "red-things")
    invoke("train", "prior", "--z", "light,boxes")
    prior = Prior.load(scenes.models("prior"))
    assert prior.z_kinds == ("boxes", "light")
    texts = draw_z(prior, prior.encode(["a red circle"]), ("boxes", "light"), range(3))
    for text in texts:
        z = z_from_text(text)
        assert list(z) == ["boxes", "light"]
        assert z_from_text(z_to_text(z)) == z
    assert "light: (" in invoke("data", "show", "--n", "2").out


def test_a_plug_ins_detector_finds_boxes(light, scenes, invoke):
    invoke("extract", "boxes", "--model", "red-things")
    shard = scenes.data_shards()[0]
    labels = {
        box.label
        for record in read_joined(scenes, shard, ["boxes"])
        if "boxes" in record.latents
        for box in record.latents["boxes"].items
    }
    assert labels == {"red thing"}
    made = read_manifest(scenes.latents("boxes") / shard.name)
    assert (made.stage, made.options["weights"]) == ("boxes-red-things", "red-things 1")
    assert "without masks" in invoke("extract", "blobs", "--model", "red-things", code=1).err
    refused = invoke("extract", "boxes", "--model", "red-things", "--find", "dog", code=1).err
    assert "--find" in refused and not (scenes.latents("blobs")).exists()


def test_a_plug_ins_describer_writes_descriptions(light, scenes, invoke):
    summary = json.loads(invoke("extract", "descriptions", "--model", "longer", "--json").out)
    assert summary["description"]["ok"] == 6
    shard = scenes.data_shards()[0]
    for record in read_joined(scenes, shard, ["description"]):
        written = record.latents["description"].text
        assert written == f"This picture shows {record.caption}, no more."
    made = read_manifest(scenes.latents("description") / shard.name)
    assert (made.stage, made.options["model"]) == ("descriptions-longer", "longer 1")


def test_a_preview_and_doctor_know_plug_ins(light, scenes, invoke):
    assert "light: (" in invoke("extract", "plugin", "light", "--preview", "2").out
    assert not scenes.latents("light").exists()
    rows = json.loads(invoke("doctor", "--json").out)["plugins"]
    assert rows == [
        ["kaleido.latents", "light", "kaleido-light", "ready"],
        ["kaleido.stages", "light", "kaleido-light", "ready"],
        ["kaleido.detectors", "red-things", "kaleido-light", "ready"],
        ["kaleido.describers", "longer", "kaleido-light", "ready"],
    ]


def test_kinds_of_plug_ins_come_last_and_by_name(light):
    assert order_kinds(["light", "palette", "boxes"]) == ("boxes", "palette", "light")
    assert extract_command("light") == "kaleido extract plugin light"


def test_a_prior_needs_its_plug_in(light, scenes, invoke):
    invoke("extract", "plugin", "light")
    invoke("train", "prior", "--z", "light")
    (light.folder / "kaleido_light-0.1.0.dist-info" / "entry_points.txt").unlink()
    light.forget()
    with pytest.raises(LatentError) as caught:
        Prior.load(scenes.models("prior"))
    assert caught.value.what == "light"


def test_an_unknown_kind_offers_that_of_a_plug_in(light, scenes, invoke):
    assert "'light'" in invoke("extract", "plugin", "ligth", code=1).err


def test_kaleidos_own_kinds_are_not_for_plug_ins(site, scenes, invoke):
    assert "kaleido extract boxes" in invoke("extract", "plugin", "boxes", code=1).err
    site.install("rival", {plugins.LATENTS: {"boxes": "rival:Boxes"}}, rival="Boxes = 1")
    assert "rival is not used" in invoke("extract", "plugin", "boxes", code=1).err
    rows = json.loads(invoke("doctor", "--json").out)["plugins"]
    assert "a kind of this name" in rows[0][3]


def test_two_packages_with_one_kind_are_both_named(light):
    light.install("other-light", {plugins.LATENTS: {"light": "kaleido_light:Light"}})
    with pytest.raises(KaleidoError) as caught:
        latent_class("light")
    assert caught.value.code == "plugin" and "kaleido-light, other-light" in caught.value.why
    assert caught.value.hint == "Uninstall all but one."


SMALL = "from kaleido_light import Light, LightStage, make_stage, Longer, RedThings\n"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("import nothing_of_this_name", "ModuleNotFoundError: No module named"),
        ("raise RuntimeError('torn')", "RuntimeError: torn"),
        ("Odd = 3", "3 is not a subclass"),
        ("from pipelines.latents.base import Latent\nclass Odd(Latent): pass", "Odd lacks draw, "),
        (SMALL + "class Odd(Light): kind = 'even'", "Odd.kind is 'even', not 'odd'"),
        (SMALL + "class Odd(Light): kind, version = 'odd', '1'", "version is not a whole number"),
    ],
)
def test_a_bad_kind_is_named_with_its_package(light, text, reason):
    light.install("oddities", {plugins.LATENTS: {"odd": "oddities:Odd"}}, oddities=text)
    with pytest.raises(KaleidoError) as caught:
        latent_class("odd")
    assert caught.value.what == "plug-in 'odd' of oddities"
    assert reason in caught.value.why
    assert "oddities" in caught.value.hint


def test_a_kinds_name_cannot_be_a_number_or_a_tokenizers_word(light):
    names = dict.fromkeys(["12", "pad", "Light", "a.b"], "kaleido_light:Light")
    light.install("names", {plugins.LATENTS: names})
    for name in names:
        with pytest.raises(KaleidoError) as caught:
            latent_class(name)
        assert caught.value.what == f"plug-in {name!r} of names"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("def make(parts): return 3", "it makes a int, not"),
        ("def make(parts): raise OSError('no weights')", "OSError: no weights"),
        ("make = 3", "TypeError"),
        (
            SMALL + "from pipelines.core.stage import StageSpec\n"
            "class Odd(LightStage): spec = StageSpec('odd', 1, 'palette')\n"
            "def make(parts): return Odd()",
            "its stage makes 'palette', not 'light'",
        ),
    ],
)
def test_a_bad_stage_is_named_with_its_package(light, scenes, text, reason):
    (light.folder / "kaleido_light-0.1.0.dist-info" / "entry_points.txt").write_text(
        "[kaleido.latents]\nlight = kaleido_light:Light\n"
    )
    light.install("stages", {plugins.STAGES: {"light": "odd_stages:make"}}, odd_stages=text)
    with pytest.raises(KaleidoError) as caught:
        build_stages(["light"], StageContext(scenes))
    assert caught.value.what == "plug-in 'light' of stages"
    assert reason in caught.value.why


def test_a_latent_without_a_stage_cannot_be_extracted(light, scenes, invoke):
    (light.folder / "kaleido_light-0.1.0.dist-info" / "entry_points.txt").write_text(
        "[kaleido.latents]\nlight = kaleido_light:Light\n"
    )
    light.forget()
    assert "no stage makes this kind" in invoke("extract", "plugin", "light", code=1).err


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("Odd = 3", "3 is not a class"),
        (SMALL + "class Odd(RedThings): identity = ''", "identity is not a text"),
        (SMALL + "class Odd(RedThings): has_masks = None", "has_masks is not True or False"),
    ],
)
def test_a_bad_detector_is_named_with_its_package(light, scenes, text, reason, invoke):
    light.install("oddities", {plugins.DETECTORS: {"odd": "oddities:Odd"}}, oddities=text)
    err = invoke("extract", "boxes", "--model", "odd", code=1).err
    assert "plug-in 'odd' of oddities" in err
    assert reason in err


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("def Odd(prompt, wording): pass", "is not a class with a method describe"),
        (SMALL + "class Odd(Longer): sees = 1", "sees is not True or False"),
    ],
)
def test_a_bad_describer_is_named_with_its_package(light, scenes, text, reason, invoke):
    light.install("oddities", {plugins.DESCRIBERS: {"odd": "oddities:Odd"}}, oddities=text)
    err = invoke("extract", "descriptions", "--model", "odd", code=1).err
    assert "plug-in 'odd' of oddities" in err
    assert reason in err

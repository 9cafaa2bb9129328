from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from dataclasses import asdict

import pytest

from pipelines.core.errors import KaleidoError
from pipelines.latents.blobs import Blobs
from pipelines.latents.boxes import Boxes
from pipelines.latents.palette import Palette
from pipelines.workspace.config import (
    describe,
    find_setting,
    load_settings,
    override,
    parse,
    write_toml,
)
from pipelines.workspace.settings import SECTIONS, SETTINGS, Settings


def _load(tmp_path, text: str) -> Settings:
    path = tmp_path / "kaleido.toml"
    path.write_text(text, encoding="utf-8")
    return load_settings(path)


def test_the_default_file_gives_the_default_settings(tmp_path):
    assert _load(tmp_path, write_toml(Settings())) == Settings()


def test_a_written_file_gives_back_changed_settings(tmp_path):
    changes = {"prior.pretrained": 'C:\\a "b"\n', "evaluate.cfg": (2.0,), "sample.top_p": 0.5}
    settings = override(Settings(), changes | {"extract.boxes_find": ("é", "cat")})
    assert _load(tmp_path, write_toml(settings)) == settings


def test_a_byte_order_mark_is_skipped(tmp_path):
    path = tmp_path / "kaleido.toml"
    path.write_bytes(b"\xef\xbb\xbf[prior]\nsteps = 7\n")
    assert load_settings(path).prior.steps == 7


def test_the_default_file_explains_every_setting():
    text = write_toml(Settings())
    document = tomllib.loads(text)
    assert [f"{part}.{key}" for part, keys in document.items() for key in keys] == list(SETTINGS)
    comments = " ".join(
        line.removeprefix("# ") for line in text.splitlines() if line.startswith("#")
    )
    for item in SETTINGS.values():
        assert item.declared.help.strip().endswith(".")
        assert describe(item) in comments
    for about in SECTIONS.values():
        assert about in comments
    assert max(map(len, text.splitlines())) <= 100
    assert "# Prob" in text and "Allowed: from 0 to 1." in describe(find_setting("sample.cfg_end"))


def test_what_the_file_leaves_out_keeps_its_default(tmp_path):
    settings = _load(tmp_path, "[prior]\nsteps = 7\nz_kinds = ['blobs']\n")
    expected = asdict(Settings())
    expected["prior"] |= {"steps": 7, "z_kinds": ("blobs",)}
    assert asdict(settings) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[pryor]\nsteps = 1", "Did you mean 'prior'?"),
        ("[pryor]", "Did you mean 'prior'?"),
        ("[prior]\nstep = 1", "Did you mean 'steps'?"),
        ("steps = 1", "outside a section"),
        ("[prior]\nsteps = '1'", "'1' is not a whole number"),
        ("[prior]\nsteps = true", "True is not a whole number"),
        ("[prior]\nsteps = 1.5", "1.5 is not a whole number"),
        ("[prior]\nlearning_rate = nan", "nan is out of range"),
        ("[prior]\npretrained = 3", "3 is not a text"),
        ("[prior]\nz_kinds = 'boxes'", "'boxes' is not a list of str"),
        ("[prior]\nz_kinds = [1]", "1 is not a text"),
        ("[evaluate]\ncfg = []", "the list is empty"),
        ("[prior", "not valid TOML"),
    ],
)
def test_mistakes_are_named_with_their_file(tmp_path, text, message):
    with pytest.raises(KaleidoError, match=re.escape(message)) as caught:
        _load(tmp_path, text)
    assert "kaleido.toml" in caught.value.what


OUT_OF_RANGE = [
    ("data.image_size", 7, "a whole number from 8 to 4096, or 0"),
    ("data.shard_size", 0, "a whole number above 0"),
    ("extract.workers", 0, "a whole number above 0"),
    ("extract.boxes_confidence", 1.5, "a number from 0 to 1"),
    ("extract.boxes_confidence", -0.1, "a number from 0 to 1"),
    ("extract.boxes_max", 40, "a whole number from 1 to 15"),
    ("extract.palette_colours", 0, "a whole number from 1 to 8"),
    ("extract.palette_colours", 9, "a whole number from 1 to 8"),
    ("prior.steps", 0, "a whole number above 0"),
    ("prior.warmup", -1, "a whole number from 0 up"),
    ("diffusion.batch_size", 0, "a whole number above 0"),
    ("diffusion.learning_rate", 0.0, "a number above 0"),
    ("diffusion.drop_condition", 1.5, "a number from 0 to 1"),
    ("sample.n", 0, "a whole number above 0"),
    ("sample.cfg", -0.5, "a number from 0 up"),
    ("sample.steps", 0, "a whole number above 0"),
    ("sample.temperature", 0.0, "a number above 0"),
    ("sample.temperature", -1.0, "a number above 0"),
    ("sample.top_p", 0.0, "a number above 0, at most 1"),
    ("sample.top_p", 1.5, "a number above 0, at most 1"),
    ("sample.batch_size", 0, "a whole number above 0"),
]


@pytest.mark.parametrize(("name", "value", "allowed"), OUT_OF_RANGE)
def test_a_value_out_of_range_is_named_with_the_range(tmp_path, name, value, allowed):
    section, key = name.split(".")
    message = f"{value} is out of range. Give {allowed}."
    with pytest.raises(KaleidoError, match=re.escape(message)) as caught:
        _load(tmp_path, f"[{section}]\n{key} = {value}\n")
    assert caught.value.what == f"setting {name!r} in {tmp_path / 'kaleido.toml'}"
    with pytest.raises(KaleidoError, match=re.escape(message)) as caught:
        override(Settings(), {name: value})
    assert caught.value.what == f"setting {name!r} in the command line"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("extract.boxes_confidence", 0.0),
        ("extract.boxes_confidence", 1.0),
        ("extract.boxes_max", 15),
        ("prior.warmup", 0),
        ("sample.cfg", 0.0),
        ("sample.top_p", 1.0),
        ("sample.seed", -1),
    ],
)
def test_the_ends_of_a_range_belong_to_it(name, value):
    section, key = name.split(".")
    assert getattr(getattr(override(Settings(), {name: value}), section), key) == value


def test_every_default_is_allowed():
    defaults = {item.name: item.default for item in SETTINGS.values()}
    assert override(Settings(), defaults) == Settings()


def test_types_are_those_that_files_and_flags_can_hold():
    kinds = {int, float, str, tuple[int, ...], tuple[float, ...], tuple[str, ...]}
    assert {item.type for item in SETTINGS.values()} <= kinds


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("prior.steps", "7", 7),
        ("sample.cfg", "3", 3.0),
        ("prior.pretrained", "a,b", "a,b"),
        ("prior.z_kinds", "boxes, palette", ("boxes", "palette")),
        ("diffusion.z_kinds", "", ()),
        ("evaluate.cfg", "1,7.5", (1.0, 7.5)),
        ("evaluate.cfg", "cfg=1,7.5", (1.0, 7.5)),
        ("evaluate.seeds", "-1,2", (-1, 2)),
    ],
)
def test_text_of_the_command_line_is_read_by_type(name, text, value):
    assert parse(find_setting(name), text) == value


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("prior.steps", "1.5"),
        ("sample.cfg", "much"),
        ("evaluate.cfg", "steps=1"),
        ("data.seed", ""),
    ],
)
def test_text_that_is_no_number_is_named(name, text):
    with pytest.raises(KaleidoError) as caught:
        parse(find_setting(name), text)
    assert caught.value.code == "bad-setting"
    assert name in caught.value.what


def test_a_word_that_is_no_choice_is_named_with_the_nearest(tmp_path):
    with pytest.raises(KaleidoError) as caught:
        _load(tmp_path, '[prior]\nprecision = "fp16"\n')
    assert "'bf16'" in caught.value.hint


def test_ranges_of_lists_are_those_of_the_latents():
    assert SETTINGS["extract.boxes_max"].declared.within.high == min(
        Boxes.max_items, Blobs.max_items
    )
    assert SETTINGS["extract.palette_colours"].declared.within.high == Palette.max_items


def test_a_file_that_is_not_utf8_or_missing(tmp_path):
    (tmp_path / "kaleido.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(KaleidoError) as caught:
        load_settings(tmp_path / "kaleido.toml")
    assert caught.value.code == "bad-setting"
    with pytest.raises(KaleidoError) as caught:
        load_settings(tmp_path / "missing.toml")
    assert caught.value.what == str(tmp_path / "missing.toml")


def test_override_changes_a_copy():
    before = Settings()
    after = override(before, {"prior.steps": 10, "sample.cfg": 3, "data.seed": None})
    assert (after.prior.steps, after.sample.cfg, type(after.sample.cfg)) == (10, 3.0, float)
    assert after.data == before.data
    assert before == Settings()


def test_override_refuses_an_unknown_name():
    with pytest.raises(KaleidoError) as caught:
        override(Settings(), {"prior.stepz": 10})
    assert "'steps'" in caught.value.hint
    with pytest.raises(KaleidoError) as caught:
        override(Settings(), {"steps": 10})
    assert caught.value.code == "bad-setting"


def test_negative_seeds_and_an_empty_list_of_kinds_are_fine():
    settings = override(Settings(), {"data.seed": -3, "diffusion.z_kinds": ()})
    assert (settings.data.seed, settings.diffusion.z_kinds) == (-3, ())


def test_import_is_light():
    code = (
        "import sys, pipelines.workspace.config, pipelines.core.progress\n"
        "import pipelines.workspace.workspace\n"
        "print([m for m in ('torch', 'numpy', 'pyarrow', 'PIL') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.strip() == "[]"


def test_a_retired_setting_of_an_older_file_is_passed_over(tmp_path):
    (tmp_path / "kaleido.toml").write_text('[extract]\ndisk_budget = ""\nworkers = 2\n')
    assert load_settings(tmp_path / "kaleido.toml").extract.workers == 2

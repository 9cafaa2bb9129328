"""Detectors of transformers: tiny networks of the real classes, saved and loaded by path."""

from __future__ import annotations

import json
import shutil
import sys
from dataclasses import replace

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from pipelines.core.errors import KaleidoError
from pipelines.extract.detectors.find import find_detector, load_detector
from pipelines.extract.detectors.pretrained import PretrainedBackend
from pipelines.extract.run import extract
from pipelines.scenes.generate import make_records
from pipelines.workspace.config import override

RNG = np.random.default_rng(0)
SIZES = ((48, 64), (64, 64), (64, 40), (64, 64))
IMAGES = [RNG.integers(0, 255, (*size, 3), np.uint8) for size in SIZES]
CAPTIONS = ["a red disc", "a square", "nothing", "a square"]
FAMILIES = {
    "rtdetr": "detection",
    "mask2former": "segmentation",
    "grounding_dino": "open",
    "owlv2": "open",
}


def load(request, name, confidence=0.0, most=4):
    prompts = ("red disc", "square") if FAMILIES[name] == "open" else ()
    model = find_detector(str(request.getfixturevalue(name)), prompts)
    assert model.family == FAMILIES[name]
    return model, load_detector(model, confidence, most)


@pytest.mark.parametrize("name", FAMILIES)
def test_finds_are_sorted_and_lie_within_each_image(request, name):
    model, backend = load(request, name)
    found = backend.predict(IMAGES, CAPTIONS)
    assert len(found) == len(IMAGES)
    assert sum(len(each.labels) for each in found) > 0
    for each, image in zip(found, IMAGES, strict=True):
        height, width = image.shape[:2]
        count = len(each.labels)
        assert count <= 4
        assert each.boxes.shape == (count, 4)
        assert each.boxes.dtype == each.scores.dtype == np.float32
        assert (each.boxes >= 0).all()
        assert (each.boxes <= (width, height, width, height)).all()
        assert (np.diff(each.scores) <= 0).all()
        assert model.has_masks == (each.masks is not None)
        if each.masks is not None:
            assert each.masks.shape == (count, height, width)
            assert each.masks.any((1, 2)).all()


@pytest.mark.parametrize("name", FAMILIES)
def test_an_image_is_seen_alike_alone_and_among_others(request, name):
    _, backend = load(request, name)
    together = backend.predict(IMAGES, CAPTIONS)
    for each, image, caption in zip(together, IMAGES, CAPTIONS, strict=True):
        (alone,) = backend.predict([image], [caption])
        assert alone.labels == each.labels
        np.testing.assert_allclose(alone.boxes, each.boxes, atol=0.05)


def test_labels_are_those_of_the_configuration(request):
    _, backend = load(request, "rtdetr")
    labels = {label for each in backend.predict(IMAGES, CAPTIONS) for label in each.labels}
    assert labels <= {"cat", "dog"}


def test_an_open_vocabulary_answers_to_what_it_is_asked(request):
    _, backend = load(request, "owlv2")
    labels = {label for each in backend.predict(IMAGES, CAPTIONS) for label in each.labels}
    assert labels <= {"red disc", "square"}


def test_a_caption_that_names_nothing_finds_nothing(request, monkeypatch):
    _, backend = load(request, "owlv2")
    monkeypatch.setattr(backend, "_phrases", lambda caption: [])
    (found,) = backend.predict(IMAGES[:1], CAPTIONS[:1])
    assert found.labels == ()


def test_nothing_is_certain_enough(request):
    for name in FAMILIES:
        _, backend = load(request, name, confidence=1.0)
        assert all(each.labels == () for each in backend.predict(IMAGES, CAPTIONS))
        assert backend.predict([], []) == []


def test_prompts_are_for_open_vocabularies(rtdetr):
    with pytest.raises(KaleidoError) as caught:
        find_detector(str(rtdetr), ["horse"])
    assert caught.value.code == "bad-option" and caught.value.what == "--find"


def test_other_weights_are_another_model(rtdetr, owlv2, tmp_path):
    copy = shutil.copytree(rtdetr, tmp_path / "copy")
    assert find_detector(str(copy)).identity == find_detector(str(rtdetr)).identity
    config = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps(config | {"num_queries": 5}))
    assert find_detector(str(copy)).identity != find_detector(str(rtdetr)).identity


def test_pickles_are_not_read(rtdetr, tmp_path):
    copy = shutil.copytree(rtdetr, tmp_path / "copy")
    (copy / "model.safetensors").rename(copy / "pytorch_model.bin")
    with pytest.raises(KaleidoError) as caught:
        find_detector(str(copy))
    assert caught.value.code == "bad-model"


@pytest.mark.parametrize(
    "change",
    [
        lambda path: path.write_text("{"),
        lambda path: path.unlink(),
        lambda path: path.write_text('{"model_type": "bert", "architectures": ["BertModel"]}'),
    ],
)
def test_a_folder_of_something_else_is_named(rtdetr, tmp_path, change):
    copy = shutil.copytree(rtdetr, tmp_path / "copy")
    change(copy / "config.json")
    with pytest.raises(KaleidoError) as caught:
        find_detector(str(copy))
    assert caught.value.code == "bad-model" and str(copy) in caught.value.what


def test_damaged_weights_are_told(rtdetr, tmp_path):
    copy = shutil.copytree(rtdetr, tmp_path / "copy")
    (copy / "model.safetensors").write_bytes(b"\0" * 64)
    with pytest.raises(KaleidoError) as caught:
        find_detector(str(copy))
    assert caught.value.code == "bad-model"


def test_code_that_a_model_brings_is_not_run(rtdetr, tmp_path):
    copy = shutil.copytree(rtdetr, tmp_path / "copy")
    config = json.loads((copy / "config.json").read_text())
    config |= {"model_type": "evil", "auto_map": {"AutoConfig": "evil.Evil"}}
    (copy / "config.json").write_text(json.dumps(config))
    (copy / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n")
    with pytest.raises(KaleidoError) as caught:
        find_detector(str(copy))
    assert caught.value.code == "unsafe-model"
    assert not (tmp_path / "ran").exists()


def test_what_is_neither_a_folder_nor_on_the_hub(tmp_path):
    for name in ("nobody/nowhere", str(tmp_path / "nowhere" / "at" / "all")):
        with pytest.raises(KaleidoError) as caught:
            find_detector(name)  # the tests are offline
        assert (caught.value.code, caught.value.what) == ("bad-option", name)


def test_the_base_is_abstract():
    with pytest.raises(TypeError):
        PretrainedBackend(None, 0.5, 4)


def test_mask2former_names_the_extra_that_it_needs(mask2former, monkeypatch):
    monkeypatch.setitem(sys.modules, "scipy", None)
    with pytest.raises(KaleidoError) as caught:
        load_detector(find_detector(str(mask2former)), 0.5, 4)
    assert caught.value.what == "scipy" and "[masks]" in caught.value.hint


def test_weights_that_are_no_numbers_end_the_run(rtdetr, tmp_path, workspace, write_data):
    copy = shutil.copytree(rtdetr, tmp_path / "copy")
    weights = load_file(copy / "model.safetensors")
    name = next(name for name in weights if name.endswith("weight"))
    save_file(weights | {name: np.full_like(weights[name], np.nan)}, copy / "model.safetensors")
    write_data(list(make_records(2, seed=3)), 2)
    own = replace(
        workspace, settings=override(workspace.settings, {"extract.boxes_model": str(copy)})
    )
    with pytest.raises(KaleidoError) as caught:
        extract(own, ["boxes"])
    assert (caught.value.code, caught.value.what) == ("bad-model", str(copy))
    assert not workspace.latents("boxes").exists()

"""The YOLO backend: rebuilt without pickles, quiet, and indifferent to its batch."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
import yaml

from pipelines.core.errors import KaleidoError
from pipelines.extract.detectors.base import distinct
from pipelines.extract.detectors.layers import check_architecture
from pipelines.extract.detectors.yolo import YoloBackend


def images(count: int, height: int = 64, width: int = 64) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return list(rng.integers(0, 256, (count, height, width, 3), dtype=np.uint8))


def run_python(code: str, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {k: v for k, v in os.environ.items() if not k.startswith("YOLO_")} | variables
    return subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False
    )


def test_detections_have_the_promised_shapes_and_ranges(untrained):
    backend = YoloBackend(untrained, confidence=0.0, max_detections=5)
    (found,) = backend.predict(images(1, 40, 64))
    assert found.boxes.shape == (len(found.labels), 4)
    assert found.masks.shape == (len(found.labels), 40, 64)
    assert 1 <= len(found.labels) <= 5
    assert set(found.labels) <= set(backend.names)
    assert (np.diff(found.scores) <= 0).all()
    assert found.boxes.min() >= 0
    assert (found.boxes.max(0) <= (64, 40, 64, 40)).all()
    assert found.masks.min() >= 0 and found.masks.max() <= 1


def test_a_picture_does_not_depend_on_its_batch(untrained):
    backend = YoloBackend(untrained, confidence=0.0, max_detections=5)
    batch = [*images(3), *images(2, 30, 50)]
    for alone, together in zip(batch, backend.predict(batch), strict=True):
        (single,) = backend.predict([alone])
        np.testing.assert_allclose(single.scores, together.scores, atol=1e-6)
        np.testing.assert_allclose(single.boxes, together.boxes, atol=1e-3)


def test_no_pictures_give_no_detections(untrained):
    assert YoloBackend(untrained, 0.25, 8).predict([]) == []


def test_one_object_is_found_once():
    boxes = np.array([[0, 0, 10, 10], [1, 0, 11, 10], [20, 0, 30, 10], [5, 0, 15, 10]], float)
    assert distinct(boxes) == [0, 2, 3]


@pytest.mark.parametrize("missing", ["config.json", "model.yaml", "model.safetensors"])
def test_a_missing_file_is_named(untrained, tmp_path, missing):
    folder = shutil.copytree(untrained, tmp_path / "copy")
    (folder / missing).unlink()
    with pytest.raises(KaleidoError) as caught:
        YoloBackend(folder, 0.25, 8)
    assert caught.value.code == "bad-model" and missing in caught.value.why


def test_damaged_weights_are_refused(untrained, tmp_path):
    folder = shutil.copytree(untrained, tmp_path / "copy")
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(KaleidoError) as caught:
        YoloBackend(folder, 0.25, 8)
    assert caught.value.code == "bad-model"


def test_weights_of_another_architecture_are_refused(untrained, tmp_path):
    folder = shutil.copytree(untrained, tmp_path / "copy")
    text = (folder / "model.yaml").read_text().replace("nc: 7", "nc: 9")
    (folder / "model.yaml").write_text(text)
    with pytest.raises(KaleidoError) as caught:
        YoloBackend(folder, 0.25, 8)
    assert caught.value.code == "bad-model"


ROW = [-1, 1, "Conv", [64, 3, 2]]
SOUND = {"nc": 7, "backbone": [ROW], "head": [ROW], "scales": {"n": [0.5, 0.25, 1024]}}


def test_a_sound_architecture_passes(untrained):
    assert check_architecture(dict(SOUND)) == SOUND
    assert check_architecture(SOUND | {"activation": "nn.LeakyReLU(0.1)"})
    assert check_architecture(yaml.safe_load((untrained / "model.yaml").read_text()))


@pytest.mark.parametrize(
    "change",
    [
        {"backbone": [[-1, 1, "TorchVision", [512, "resnet18", "DEFAULT", True, 2, False]]]},
        {"backbone": [[-1, 1, "nn.modules", []]]},
        {"backbone": [[-1, 1, "torchvision.ops.Conv2dNormActivation", []]]},
        {"backbone": [[-1, 1, ["Conv"], []]]},
        {"backbone": [[-1, 2_000_000_000, "Conv", [64, 3, 2]]]},
        {"backbone": [[-1, 1.5, "Conv", [64, 3, 2]]]},
        {"backbone": [[-1, 1, "Conv", [2_000_000_000, 3, 2]]]},
        {"backbone": [[-1, 1, "Conv", [float("nan")]]]},
        {"backbone": [[-1, 1, "Conv", [{"a": 1}]]]},
        {"backbone": [[-1, 1, "Conv", [[[[[1]]]]]]]},
        {"backbone": [ROW] * 501},
        {"backbone": [ROW[:3]]},
        {"backbone": "Conv"},
        {"head": None},
        {"nc": 10**9},
        {"scales": {"n": [0.5, 10**9, 1024]}},
        {"depth_multiple": float("inf")},
        {"activation": "__import__('os').system('true')"},
        {"activation": "nn.Module()"},
    ],
)
def test_what_else_an_architecture_asks_for_is_refused(untrained, tmp_path, change):
    with pytest.raises(ValueError):
        check_architecture(SOUND | change)
    folder = shutil.copytree(untrained, tmp_path / "copy")
    (folder / "model.yaml").write_text(yaml.safe_dump(SOUND | change))
    with pytest.raises(KaleidoError) as caught:
        YoloBackend(folder, 0.25, 8)
    assert (caught.value.code, caught.value.what) == ("unsafe-model", str(folder / "model.yaml"))


@pytest.mark.parametrize("text", ["[" * 10_000, "!!python/object/apply:os.getpid []", "{", "7"])
def test_a_text_that_is_no_architecture_is_refused(untrained, tmp_path, text):
    folder = shutil.copytree(untrained, tmp_path / "copy")
    (folder / "model.yaml").write_text(text)
    with pytest.raises(KaleidoError) as caught:
        YoloBackend(folder, 0.25, 8)
    assert caught.value.code == "unsafe-model"


def test_missing_ultralytics_names_the_extra():
    done = run_python(
        "import sys; sys.modules['ultralytics'] = None\n"
        "from pipelines.extract.detectors.yolo import import_ultralytics\n"
        "import_ultralytics('ultralytics.nn.tasks')"
    )
    assert "pip install 'kaleido-diffusion[yolo]'" in done.stderr
    assert "KaleidoError" in done.stderr


def test_importing_ultralytics_leaves_no_trace(tmp_path):
    done = run_python(
        "from PIL import Image\n"
        "before = Image.open\n"
        "from pipelines.extract.detectors.yolo import import_ultralytics\n"
        "utils = import_ultralytics('ultralytics.utils')\n"
        "import_ultralytics('ultralytics.nn.tasks')\n"
        "print(utils.SETTINGS['sync'], utils.ONLINE, utils.AUTOINSTALL, utils.USER_CONFIG_DIR)\n"
        "print(Image.open is before)",
        HOME=str(tmp_path),
    )
    sync, online, install, folder, pillow_kept = done.stdout.split()
    assert pillow_kept == "True"
    assert (sync, online, install) == ("False", "False", "False"), done.stderr
    assert list(tmp_path.iterdir()) == []
    assert not os.path.exists(folder)

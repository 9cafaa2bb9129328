"""Ultralytics' own checkpoints: read without running what they name, and as ultralytics does."""

from __future__ import annotations

import json
from pathlib import Path
from zipfile import ZIP_DEFLATED, ZipFile

import numpy as np
import pytest
import torch

from pipelines.core.errors import KaleidoError
from pipelines.core.stage import Filtered
from pipelines.extract.detection import Detector
from pipelines.extract.detectors.find import find_detector, find_segmenter, load_detector
from pipelines.extract.detectors.yolo import import_ultralytics
from pipelines.extract.objects import ObjectsStage
from pipelines.scenes.generate import make_records
from pipelines.workspace.manifest import read_manifest

FEW, LOW = 5, 1e-6
NETWORKS = {
    "detect": ("DetectionModel", "yolo11n.yaml"),
    "end to end": ("DetectionModel", "yolo26n.yaml"),
    "segment": ("SegmentationModel", "yolo11n-seg.yaml"),
    "rtdetr": ("RTDETRDetectionModel", "rtdetr-l.yaml"),
}


class Runs:
    """Touches a file as it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


class Reaches:
    """Has ultralytics load another checkpoint as it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        from ultralytics.nn.distill_model import DistillationModel
        from ultralytics.utils import IterableSimpleNamespace

        return DistillationModel, (str(self.path), IterableSimpleNamespace(yaml={}))


def write(path: Path, network: str, architecture: str, **more: object) -> Path:
    """Write an untrained network as ultralytics writes a trained one."""
    torch.manual_seed(0)
    tasks = import_ultralytics("ultralytics.nn.tasks")
    model = getattr(tasks, network)(architecture, nc=2, verbose=False)
    model.names = {0: "cat", 1: "dog"}
    # An RT-DETR needs as many places in a picture as it has queries.
    side = 160 if "RTDETR" in network else 64
    trained_with = {"imgsz": side, "task": "segment" if "Segm" in network else "detect"}
    torch.save({"model": model.half(), "train_args": trained_with, **more}, path)
    return path


@pytest.fixture(scope="module", params=NETWORKS)
def checkpoint(request, tmp_path_factory) -> Path:
    return write(tmp_path_factory.mktemp("checkpoint") / "best.pt", *NETWORKS[request.param])


@pytest.fixture
def harmful(tmp_path) -> Path:
    hidden = Runs(tmp_path / "it ran")
    return write(tmp_path / "harmful.pt", *NETWORKS["detect"], hidden=hidden)


def images(*sizes: tuple[int, int]) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.integers(0, 256, (*size, 3), dtype=np.uint8) for size in sizes]


def test_detections_have_the_promised_shapes_and_ranges(checkpoint):
    model = find_detector(str(checkpoint))
    (found,) = load_detector(model, LOW, FEW).predict(images((40, 64)), ["a cat"])
    assert 1 <= len(found.labels) <= FEW
    assert set(found.labels) <= {"cat", "dog"}
    assert found.boxes.shape == (len(found.labels), 4) and found.boxes.dtype == np.float32
    assert found.boxes.min() >= 0 and (found.boxes.max(0) <= (64, 40, 64, 40)).all()
    assert (np.diff(found.scores) <= 0).all()
    assert (found.masks is not None) == model.has_masks
    if model.has_masks:
        assert found.masks.shape == (len(found.labels), 40, 64)


def test_a_picture_does_not_depend_on_its_batch(checkpoint):
    backend = load_detector(find_detector(str(checkpoint)), LOW, FEW)
    batch = images((64, 64), (30, 50), (64, 64))
    for alone, together in zip(batch, backend.predict(batch, [""] * 3), strict=True):
        (single,) = backend.predict([alone], [""])
        np.testing.assert_allclose(single.scores, together.scores, rtol=1e-3)
        np.testing.assert_allclose(single.boxes, together.boxes, atol=1e-2)
    assert backend.predict([], []) == []


@pytest.mark.parametrize("checkpoint", ["segment"], indirect=True)
def test_it_finds_what_ultralytics_finds(checkpoint):
    (image,) = images((48, 64))
    (found,) = load_detector(find_detector(str(checkpoint)), LOW, FEW).predict([image], [""])
    (theirs,) = import_ultralytics("ultralytics").YOLO(checkpoint)(
        image[..., ::-1], conf=LOW, imgsz=64, rect=False, retina_masks=True, verbose=False
    )
    np.testing.assert_allclose(found.boxes[0], theirs.boxes.xyxy[0], atol=1e-3)
    assert found.scores[0] == pytest.approx(float(theirs.boxes.conf[0]))
    np.testing.assert_array_equal(found.masks[0], theirs.masks.data[0])


def test_code_in_a_checkpoint_runs_only_for_those_who_trust_it(harmful, tmp_path):
    with pytest.raises(KaleidoError) as caught:
        load_detector(find_detector(str(harmful)), 0.25, FEW)
    assert caught.value.code == "unsafe-model" and "--trust-weights" in caught.value.hint
    assert not (tmp_path / "it ran").exists()
    load_detector(find_detector(str(harmful), trust_weights=True), 0.25, FEW)
    assert (tmp_path / "it ran").exists()


def test_a_checkpoint_cannot_have_another_one_run_code(harmful, tmp_path):
    decoy = write(tmp_path / "decoy.pt", *NETWORKS["detect"], hidden=Reaches(harmful))
    with pytest.raises(KaleidoError) as caught:
        find_detector(str(decoy))
    assert caught.value.code == "unsafe-model"
    assert not (tmp_path / "it ran").exists()


@pytest.mark.parametrize("trusted", [False, True])
def test_a_damaged_checkpoint_is_neither_trusted_nor_deleted(tmp_path, trusted):
    whole = write(tmp_path / "whole.pt", *NETWORKS["detect"])
    path = tmp_path / "yolo26n.pt"  # a name that ultralytics fetches
    with ZipFile(whole) as archive, ZipFile(path, "w") as damaged:
        for name in archive.namelist():
            if not name.endswith("/data/7"):  # some layer's weights
                damaged.writestr(name, archive.read(name))
    content = path.read_bytes()
    with pytest.raises(KaleidoError) as raised:
        load_detector(find_detector(str(path), trust_weights=trusted), 0.25, FEW)
    assert "--trust-weights" not in str(raised.value)
    assert path.read_bytes() == content


@pytest.mark.parametrize("checkpoint", ["segment"], indirect=True)
def test_a_picture_without_objects_is_filtered(checkpoint):
    stage = ObjectsStage(Detector(find_detector(str(checkpoint)), 0.999, FEW), ["blobs"])
    threads = torch.get_num_threads()
    stage.setup()
    assert torch.get_num_threads() == threads
    outcomes = stage.compute(list(make_records(2, seed=3)), ["blobs"])["blobs"]
    assert [type(outcome) for outcome in outcomes] == [Filtered, Filtered]


def test_a_file_that_is_not_there_is_not_looked_for_on_the_hub(tmp_path):
    for name, hint in (("best.pt", "path"), ("yolo26n.pt", "YOLO('yolo26n.pt')")):
        with pytest.raises(KaleidoError) as caught:
            find_detector(str(tmp_path / name))
        assert caught.value.code == "bad-option" and hint in caught.value.hint


def test_the_command_takes_a_checkpoint(harmful, workspace, write_data, invoke):
    write_data(list(make_records(3, seed=3)), 3)
    command = ["extract", "boxes", "--model", str(harmful), "--workspace", str(workspace.root)]
    assert "--trust-weights" in invoke(*command, code=1).err
    command += ["--confidence", "1e-6"]  # it has learnt nothing
    summary = json.loads(invoke(*command, "--trust-weights", "--json").out)["boxes"]
    assert sum(summary[end] for end in ("ok", "filtered", "failed")) == 3
    assert read_manifest(workspace.latents("boxes") / "000000.tar").stage == "boxes-ultralytics"


@pytest.mark.parametrize("checkpoint", ["detect"], indirect=True)
def test_what_it_cannot_do_is_said_before_it_is_loaded(checkpoint):
    with pytest.raises(KaleidoError) as caught:
        find_detector(str(checkpoint), ["a zebra"])
    assert caught.value.code == "bad-option" and caught.value.what == "--find"
    assert not find_segmenter(str(checkpoint)).has_masks


def test_other_files_are_refused(tmp_path):
    (tmp_path / "text.pt").write_text("no archive")
    with ZipFile(tmp_path / "zip.pt", "w") as archive:
        archive.writestr("a/readme", "nothing")
    torch.save({"weight": torch.zeros(3)}, tmp_path / "weights.pt")
    write(tmp_path / "classes.pt", "ClassificationModel", "yolo11n-cls.yaml")
    for name in ("text", "zip", "weights", "classes"):
        with pytest.raises(KaleidoError) as caught:
            find_detector(str(tmp_path / f"{name}.pt"))
        assert (caught.value.code, caught.value.what) == ("bad-model", str(tmp_path / f"{name}.pt"))


def repacked(path: Path, change=lambda data: data, **options) -> Path:
    """Write an archive again, perhaps with another pickle."""
    copy = path.with_name("repacked.pt")
    with ZipFile(path) as old, ZipFile(copy, "w", **options) as new:
        for name in old.namelist():
            data = old.read(name)
            new.writestr(name, change(data) if name.endswith("data.pkl") else data)
    return copy


class Builds:
    """Has ultralytics build a network from a dictionary as it is unpickled."""

    def __reduce__(self):
        layer = [[-1, 1, "TorchVision", [512, "resnet18", "DEFAULT", True, 2, False]]]
        return import_ultralytics("ultralytics.nn.tasks").DetectionModel, ({"backbone": layer},)


def test_a_network_is_not_built_from_a_dictionary_in_a_checkpoint(tmp_path):
    path = write(tmp_path / "builds.pt", *NETWORKS["detect"], hidden=Builds())
    with pytest.raises(KaleidoError) as caught:
        find_detector(str(path))
    assert caught.value.code == "unsafe-model"


def test_layers_that_are_not_listed_are_refused(tmp_path):
    path = write(tmp_path / "plain.pt", *NETWORKS["detect"])
    for name in (b"ultralytics.nn.modules.block\nTorchVision", b"ultralytics.nn.text_model\nCLIP"):
        other = repacked(
            path, lambda data, name=name: data.replace(b"torch.nn.modules.activation\nSiLU", name)
        )
        with pytest.raises(KaleidoError) as caught:
            find_detector(str(other))
        assert caught.value.code == "unsafe-model"


@pytest.mark.parametrize("trusted", [False, True])
def test_a_checkpoint_that_unpacks_to_more_than_its_size_is_refused(tmp_path, trusted):
    path = write(tmp_path / "plain.pt", *NETWORKS["detect"])
    with pytest.raises(KaleidoError) as caught:
        find_detector(str(repacked(path, compression=ZIP_DEFLATED)), trust_weights=trusted)
    assert caught.value.code == "bad-model"
    large = torch.zeros(1).expand(10**10)  # ten thousand million values, stored as one
    with pytest.raises(KaleidoError) as caught:
        find_detector(
            str(write(tmp_path / "large.pt", *NETWORKS["detect"], large=large)),
            trust_weights=trusted,
        )
    assert caught.value.code == "bad-model"


def test_layers_that_contain_each_other_many_times_are_refused(tmp_path):
    """Twenty containers of two references each would run a million layers."""
    layer = torch.nn.Sequential(torch.nn.Conv2d(1, 1, 1))
    for _ in range(20):
        layer = torch.nn.Sequential(layer, layer)
    path = write(tmp_path / "nested.pt", *NETWORKS["detect"], nested=layer)
    with pytest.raises(KaleidoError) as caught:
        find_detector(str(path))
    assert caught.value.code == "bad-model"


@pytest.mark.parametrize("content", [b"", b"\x80\x02", b"(((", b"\x80\x02]q\x00h\x05."])
def test_a_damaged_pickle_is_refused(tmp_path, content):
    path = write(tmp_path / "plain.pt", *NETWORKS["detect"])
    with pytest.raises(KaleidoError) as caught:
        find_detector(str(repacked(path, lambda _: content)))
    assert caught.value.code == "bad-model"

"""COCO, YOLO, VOC and LabelMe as `supervision`, another implementation, reads and writes them.

It brings a video library of 100 MB, so it is no dependency of development:
``pip install supervision`` to run these tests.
"""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageDraw

from pipelines.documents.convert import read_files
from pipelines.documents.dialects.base import Context
from pipelines.documents.dialects.registry import writable
from pipelines.documents.dialects.yolo import read_names
from pipelines.documents.document import Document, Origin
from pipelines.documents.document import Image as Size
from pipelines.documents.element import Element, Mask

sv = pytest.importorskip("supervision")

CLASSES = ["kite", "hill", "old tree"]
FORMATS = ["coco", "yolo", "yolo-segment", "yolo-obb", "voc-original", "labelme"]
MASKED = ("coco", "yolo-segment", "labelme")
SIZES = {"p0": (64, 48), "p1": (40, 100), "p2": (81, 81)}
"""Name of a picture -> its width and height."""


def corners_of(rng, width, height):
    """Return four corners of a rectangle that is turned, (4, 2), in pixels within the picture."""
    turn = rng.uniform(0, np.pi)
    half = rng.uniform(0.1, 0.2, 2) * min(width, height)
    axes = np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
    square = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]])
    centre = np.array([width, height]) * rng.uniform(0.35, 0.65, 2)
    return np.round(centre + (square * half) @ axes)


@pytest.fixture
def objects():
    """Return (label, corners in pixels) of each picture's objects."""
    rng = np.random.default_rng(5)
    return {
        key: [(str(rng.choice(CLASSES)), corners_of(rng, *size)) for _ in range(3)]
        for key, size in SIZES.items()
    }


@pytest.fixture
def pictures(tmp_path):
    """Return a folder of empty pictures of these sizes."""
    folder = tmp_path / "images"
    folder.mkdir()
    for key, size in SIZES.items():
        Image.new("RGB", size).save(folder / f"{key}.jpg")
    return folder


def around(corners):
    return np.array([*corners.min(0), *corners.max(0)])


def filled(corners, size):
    canvas = Image.new("1", size)
    ImageDraw.Draw(canvas).polygon([tuple(point) for point in corners.tolist()], fill=1)
    return np.asarray(canvas)


def document(key, rows, form):
    """Write a picture's objects as a document with what a format holds."""
    width, height = SIZES[key]
    elements = []
    for index, (label, corners) in enumerate(rows):
        box = around(corners) / np.array([width, height] * 2)
        flat = (corners / np.array([width, height])).ravel()
        outline = Mask(polygons=(tuple(flat.tolist()),))
        elements.append(
            Element(
                id=f"e{index}",
                label=label,
                box=tuple(box.tolist()),
                mask=outline if form in MASKED or form == "yolo-obb" else None,
            )
        )
    return Document(
        key=key,
        image=Size(width=width, height=height),
        elements=tuple(elements),
        origin=Origin(format=form),
    )


def dataset(form, pictures, folder):
    """Read a folder as supervision does: key -> detections, and the names of classes."""
    images = str(pictures)
    if form == "coco":
        (path,) = folder.glob("*.json")
        found = sv.DetectionDataset.from_coco(images, str(path), force_masks=True)
    elif form == "voc-original":
        found = sv.DetectionDataset.from_pascal_voc(images, str(folder))
    elif form == "labelme":
        found = sv.DetectionDataset.from_labelme(images, str(folder), force_masks=True)
    else:
        names = str(folder / "data.yaml")
        obb, masks = form == "yolo-obb", form == "yolo-segment"
        found = sv.DetectionDataset.from_yolo(
            images, str(folder), names, is_obb=obb, force_masks=masks
        )
    return {path.rpartition("/")[2][:2]: each for path, _, each in found}, found.classes


@pytest.mark.parametrize("form", FORMATS)
def test_supervision_reads_what_is_written(form, objects, pictures, tmp_path):
    folder = tmp_path / "ours"
    folder.mkdir()
    documents = [document(key, rows, form) for key, rows in objects.items()]
    for name, text in writable(form).write(documents).files.items():
        (folder / name).write_text(text)
    found, classes = dataset(form, pictures, folder)
    assert set(found) == set(SIZES)
    for key, rows in objects.items():
        seen = found[key]
        assert [classes[number] for number in seen.class_id] == [label for label, _ in rows]
        assert seen.xyxy == pytest.approx(np.array([around(c) for _, c in rows]), abs=0.6)
        if form in MASKED:
            for mask, (_, corners) in zip(seen.mask, rows, strict=True):
                assert overlap(mask, filled(corners, SIZES[key])) > 0.85
        if form == "yolo-obb":
            theirs = seen.data["xyxyxyxy"]
            assert np.sort(theirs.reshape(3, -1)) == pytest.approx(
                np.sort(np.array([c.ravel() for _, c in rows])), abs=0.6
            )


@pytest.mark.parametrize("form", FORMATS)
def test_what_supervision_writes_is_read_alike(form, objects, pictures, tmp_path):
    folder = tmp_path / "theirs"
    images = [str(pictures / f"{key}.jpg") for key in SIZES]
    annotations = {}
    for key, rows in objects.items():
        annotations[str(pictures / f"{key}.jpg")] = sv.Detections(
            xyxy=np.array([around(corners) for _, corners in rows]),
            class_id=np.array([CLASSES.index(label) for label, _ in rows]),
            mask=np.stack([filled(c, SIZES[key]) for _, c in rows]) if form in MASKED else None,
            data={"xyxyxyxy": np.stack([c for _, c in rows])} if form == "yolo-obb" else {},
        )
    whole = sv.DetectionDataset(CLASSES, images, annotations)
    names = {}
    if form == "coco":
        folder.mkdir()
        whole.as_coco(annotations_path=str(folder / "coco.json"))
    elif form == "voc-original":
        whole.as_pascal_voc(annotations_directory_path=str(folder))
    elif form == "labelme":
        whole.as_labelme(annotations_directory_path=str(folder))
    else:
        yaml = tmp_path / "data.yaml"
        obb = form == "yolo-obb"
        whole.as_yolo(annotations_directory_path=str(folder), data_yaml_path=str(yaml), is_obb=obb)
        names = read_names(yaml.read_bytes())
    found = {}
    for documents, report in read_files([folder], form, Context(names=names)):
        assert report.valid, report.problems
        for each in documents:
            found[each.key or report.name.rpartition("/")[2][:2]] = each
    assert set(found) == set(SIZES)
    for key, rows in objects.items():
        extent = np.array(SIZES[key] * 2)
        elements = found[key].elements
        assert [e.label for e in elements] == [label for label, _ in rows]
        for element, (_, corners) in zip(elements, rows, strict=True):
            if form in MASKED:
                outlines = [np.array(o).reshape(-1, 2) * SIZES[key] for o in element.mask.polygons]
                drawn = np.any([filled(outline, SIZES[key]) for outline in outlines], axis=0)
                assert overlap(drawn, filled(corners, SIZES[key])) > 0.85
            # Outlines of masks are those of whole pixels.
            near = 1.1 if form in MASKED else 0.01
            assert np.multiply(element.box, extent) == pytest.approx(around(corners), abs=near)


def overlap(first, second):
    return (first & second).sum() / (first | second).sum()

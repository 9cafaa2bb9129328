"""Sound files in which one value is replaced: never a traceback, and never a silent loss."""

import copy
import json
from pathlib import Path

import pytest

from pipelines.documents.dialects.base import Context
from pipelines.documents.dialects.registry import DIALECTS

FOLDER = Path(__file__).parent
CONTEXT = Context("f.json", 100, 80, {0: "cat"})
OUTLINE = [[10, 10], [50, 10], [50, 40]]


def _sample(name):
    return json.loads((FOLDER / name).read_text())


def _coco():
    form = _sample("kite.coco.json")
    image = form["images"][0]
    runs = {"size": [image["height"], image["width"]], "counts": [image["height"] * image["width"]]}
    row = form["annotations"][0] | {"segmentation": runs, "score": 0.5}
    form["annotations"] = [*form["annotations"], row]
    return form


SAMPLES = {
    "kaleido.z": json.loads((FOLDER.parent / "kite.z.json").read_text()),
    "ideogram4": _sample("kite.ideogram4.json"),
    "fibo": _sample("kite.fibo.json"),
    "bbox": [{"label": "cat", "bbox": [0, 0, 1, 1], "mask": "m.png"}],
    "coco": _coco(),
    "labelme": {
        "version": "5.0",
        "flags": {},
        "imagePath": "a.png",
        "imageHeight": 80,
        "imageWidth": 100,
        "shapes": [
            {"label": "cat", "description": "grey", "points": OUTLINE, "shape_type": "polygon"},
            {"label": "ball", "points": OUTLINE[:2], "shape_type": "circle"},
        ],
    },
    "label-studio": [
        {
            "id": 1,
            "data": {"image": "a.png"},
            "annotations": [
                {
                    "result": [
                        {
                            "id": "x",
                            "type": "polygonlabels",
                            "original_width": 100,
                            "original_height": 80,
                            "value": {"points": OUTLINE, "polygonlabels": ["cat"]},
                        },
                        {"id": "x", "type": "textarea", "value": {"text": ["a grey cat"]}},
                        {
                            "type": "rectanglelabels",
                            "original_width": 100,
                            "original_height": 80,
                            "value": {
                                "x": 5,
                                "y": 5,
                                "width": 20,
                                "height": 20,
                                "rotation": 10,
                                "rectanglelabels": ["ball"],
                            },
                        },
                    ]
                }
            ],
        }
    ],
    "gbc": {
        "img_path": "a.jpg",
        "original_caption": "a cat",
        "vertices": [
            {
                "vertex_id": "",
                "label": "image",
                "bbox": {"left": 0, "top": 0, "right": 1, "bottom": 1, "confidence": None},
                "descs": [{"text": "A cat.", "label": "short"}],
                "in_edges": [],
                "out_edges": [{"source": "", "text": "cat", "target": "cat"}],
            },
            {
                "vertex_id": "cat",
                "label": "entity",
                "bbox": {"left": 0.1, "top": 0.1, "right": 0.5, "bottom": 0.5, "confidence": 0.9},
                "descs": [{"text": "A grey cat.", "label": "detail"}],
                "in_edges": [{"source": "", "text": "cat", "target": "cat"}],
                "out_edges": [],
            },
        ],
    },
    "layoutsam": {
        "image_id": "a",
        "file_name": "a.jpg",
        "width": 100,
        "height": 80,
        "global_caption": "A cat.",
        "region_captions": "['cat']",
        "detail_region_captions": "['a grey cat']",
        "bbox_list": "[[10, 10, 50, 40]]",
    },
    "qwen2.5-vl": [{"bbox_2d": [1, 2, 30, 40], "label": "cat"}],
    "gemini": [{"box_2d": [1, 2, 30, 40], "label": "cat"}],
}

VALUES = (
    *(None, True, 0, -1, 0.5, 1e308, 10**30, "", " ", "\x00\x1b[2J", "[[" * 3000),
    *([], {}, [[]], {"a": {"b": {"c": []}}}),
    {"size": [10**9, 10**9], "counts": [10**18]},
)
"""What replaces any value."""

LONG = {
    str: ("x" * 5000, "[" + "1," * 20_000 + "1]"),
    list: ([[1.0] * 20_002], [[1.0, 2.0]] * 10_001),
    dict: ({"size": [480, 1000], "counts": [1] * 480_000},),
}
"""What replaces values of its type alone, because it takes time; in documents of our own the schema
has the limits."""


def _paths(value, path=()):
    yield path
    items = enumerate(value) if isinstance(value, list) else ()
    for key, item in value.items() if isinstance(value, dict) else items:
        yield from _paths(item, (*path, key))


def _at(form, path):
    for key in path:
        form = form[key]
    return form


def _replaced(form, path, value):
    if not path:
        return value
    changed = copy.deepcopy(form)
    part = changed
    for key in path[:-1]:
        part = part[key]
    part[path[-1]] = value
    return changed


@pytest.mark.parametrize("name", SAMPLES)
def test_any_value_in_any_place_is_read_or_reported(name):
    form = SAMPLES[name]
    assert DIALECTS[name].read(json.dumps(form).encode(), CONTEXT).documents
    for number, path in enumerate(_paths(form)):
        # Each place gets every third value: neighbours are read alike.
        long = () if name == "kaleido.z" else LONG.get(type(_at(form, path)), ())
        for value in (*VALUES[number % 3 :: 3], *long):
            data = json.dumps(_replaced(form, path, value)).encode()
            found = DIALECTS[name].read(data, CONTEXT)
            for document in found.documents:
                document.to_json()

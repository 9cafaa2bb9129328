"""Faulty files: every fault has its path and code, and nothing hostile is a traceback."""

import json
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pycocotools import mask as coco_mask

from pipelines.documents.dialects.base import Context
from pipelines.documents.dialects.coco import decode_counts
from pipelines.documents.dialects.registry import DIALECTS

BODY_KEY = "compositional_deconstruction"
BODY = {"background": "", "elements": []}


def codes(name, form, **context):
    text = form if isinstance(form, str | bytes) else json.dumps(form)
    data = text.encode() if isinstance(text, str) else text
    found = DIALECTS[name].read(data, Context(**context))
    empty = data.strip() in (b"", b"[]") or b'"images": []' in data
    assert found.documents or found.problems or empty
    return {(p.path, p.code) for p in found.problems}


def elements(name, text):
    """The elements of the only document of a text."""
    (document,) = DIALECTS[name].read(text.encode(), Context()).documents
    return document.elements


def ideogram(**element):
    return {"compositional_deconstruction": BODY | {"elements": [{"type": "obj", **element}]}}


AT = "compositional_deconstruction.elements[0]"


@pytest.mark.parametrize(
    ("form", "expected"),
    [
        ("plain words", ("", "syntax")),
        ({}, ("compositional_deconstruction", "missing")),
        (
            {"aspect_ratio": "1:1", "compositional_deconstruction": BODY},
            ("aspect_ratio", "unknown-key"),
        ),
        (
            {"compositional_deconstruction": {"elements": [], "background": ""}},
            ("compositional_deconstruction", "key-order"),
        ),
        (ideogram(), (f"{AT}.desc", "missing")),
        (ideogram(desc=" "), (f"{AT}.desc", "empty")),
        (ideogram(desc=3), (f"{AT}.desc", "type")),
        (ideogram(bbox=None, desc="a"), (f"{AT}.bbox", "null")),
        (ideogram(bbox=[0, 0, 0, 10], desc="a"), (f"{AT}.bbox", "box")),
        (ideogram(bbox=[True, 0, 10, 10], desc="a"), (f"{AT}.bbox", "box")),
        (ideogram(bbox=[0.5, 0, 10, 10], desc="a"), (f"{AT}.bbox", "box")),
        (ideogram(bbox=[0, 0, 10, 1001], desc="a"), (f"{AT}.bbox", "box")),
        (ideogram(desc="a", text="b"), (f"{AT}.text", "unknown-key")),
        (ideogram(desc="a", color_palette=["#d8342c"]), (f"{AT}.color_palette[0]", "colour")),
        (ideogram(desc="a", color_palette=["#FFFFFF"] * 6), (f"{AT}.color_palette", "number")),
        (
            {"compositional_deconstruction": BODY | {"elements": [{"type": ["obj"], "desc": "a"}]}},
            (f"{AT}.type", "type"),
        ),
        (
            {
                "style_description": {"aesthetics": "", "lighting": "", "medium": ""},
                "compositional_deconstruction": BODY,
            },
            ("style_description", "branch"),
        ),
        (
            '{"compositional_deconstruction":{"background":"","background":"a","elements":[]}}',
            ("compositional_deconstruction.background", "duplicate-key"),
        ),
    ],
)
def test_ideograms_rules_and_what_its_own_verifier_lets_pass(form, expected):
    assert expected in codes("ideogram4", form)


@pytest.mark.parametrize(
    ("name", "form", "expected"),
    [
        ("fibo", {"objects": [{"location": "left"}]}, ("objects[0].description", "missing")),
        ("fibo", {"mood": "calm"}, ("mood", "unknown-key")),
        ("bbox", '[{"label":"a","bbox":[0,0,640,480]}]', ("[0].bbox", "outside")),
        ("bbox", '[{"label":"a","bbox":[0.5,0,0.5,1]}]', ("[0].bbox", "empty")),
        ("bbox", '[{"label":"a","bbox":[0.9,0,0.1,1]}]', ("[0].bbox", "reversed")),
        ("bbox", '[{"bbox":[0,0,1,1]}]', ("[0].label", "label")),
        ("yolo", "0 0.5 0.5 2 2\n", ("line 1", "outside")),
        ("yolo", "0 nan 0.5 1 1\n", ("line 1", "row")),
        ("coco", [], ("", "type")),
        ("voc", "<annotation/>", ("size", "size")),
        ("voc", '<!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>', ("", "syntax")),
        ("labelme", {"shapes": []}, ("", "type")),
        ("label-studio", [{"image": "a.jpg"}], ("[0]", "type")),
        ("gbc", "{}", ("line 1", "type")),
        (
            "layoutsam",
            {"width": 1, "height": 1, "bbox_list": "__import__('os')"},
            ("line 1", "lists"),
        ),
        ("prose", "A hill under a kite", ("", "places")),
        ("qwen3-vl", "I see a kite.", ("", "answer")),
        ("qwen2.5-vl", '[{"bbox_2d":[1,2,3,4],"label":"a"}]', ("", "size")),
    ],
)
def test_faults_of_the_other_formats(name, form, expected):
    assert expected in codes(name, form)


def test_faulty_annotations_of_coco_are_named_and_the_others_kept():
    rows = [
        {"image_id": 1, "category_id": 1, "bbox": [0, 0, 5, 5]},
        {"image_id": 1, "category_id": 1, "bbox": [0, 0, -5, 5]},
        {"image_id": 1, "category_id": 9, "bbox": [0, 0, 5, 5]},
        {"image_id": 1, "category_id": 1, "bbox": [0, 0, 5, 5], "iscrowd": 1},
        {
            "image_id": 1,
            "category_id": 1,
            "bbox": [0, 0, 5, 5],
            "segmentation": {"size": [1, 1], "counts": [1]},
        },
    ]
    form = {
        "images": [{"id": 1, "file_name": "a/b.jpg", "width": 10, "height": 10}],
        "categories": [{"id": 1, "name": "kite"}],
        "annotations": rows,
    }
    found = DIALECTS["coco"].read(json.dumps(form).encode(), Context())
    assert found.documents[0].key == "b" and len(found.documents[0].elements) == 1
    assert [p.code for p in found.problems] == ["reversed", "category", "crowd", "mask"]


@given(st.integers(1, 12), st.integers(1, 12), st.randoms())
def test_compressed_masks_are_read_as_pycocotools_writes_them(height, width, random):
    pixels = np.array([[random.random() < 0.5 for _ in range(width)] for _ in range(height)])
    packed = coco_mask.encode(np.asfortranarray(pixels.astype(np.uint8)))
    counts = decode_counts(packed["counts"].decode())
    flat = np.concatenate([np.full(n, i % 2) for i, n in enumerate(counts)])
    assert np.array_equal(flat.reshape(width, height).T, pixels)


MANY = {"size": [700, 700], "counts": [1] * 490_000}


@pytest.mark.parametrize(
    "segmentation",
    [
        MANY,
        {"size": [700, 700], "counts": [-1, 490_001]},
        {"size": [700, 700], "counts": [10**30]},
        {"size": [700, 700], "counts": [490_000.5]},
        {"size": [700, 700], "counts": [1]},
        {"size": [10**9, 10**9], "counts": [10**18]},
        {"size": [10**9, 10**9], "counts": "o" * 50},
        {"size": [True, True], "counts": [1]},
        {"size": [700, 700], "counts": "\x7f"},
        [[1.0] * 20_002],
    ],
)
def test_hostile_run_lengths_have_path_and_code(segmentation):
    row = {"image_id": 1, "category_id": 1, "bbox": [0, 0, 5, 5], "segmentation": segmentation}
    form = {
        "images": [{"id": 1, "file_name": "b.jpg", "width": 700, "height": 700}],
        "categories": [{"id": 1, "name": "kite"}],
        "annotations": [row],
    }
    assert codes("coco", form) == {("annotations[0]", "mask")}
    if isinstance(segmentation, dict) and isinstance(segmentation["counts"], list):
        element = {"id": "a", "label": "kite", "mask": segmentation}
        found = codes("kaleido.z", {"format": "kaleido.z", "version": 1, "elements": [element]})
        assert all(path.startswith("elements[0].mask") for path, _ in found) and found


def test_answers_of_models():
    qwen2 = (
        "<|object_ref_start|>kite<|object_ref_end|><|box_start|>(560,120),(760,390)<|box_end|>"
        "<|box_start|>(0,0),(999,999)<|box_end|>"
    )
    kites = elements("qwen2-vl", qwen2)
    assert [e.label for e in kites] == ["kite", "kite"] and kites[1].box == (0, 0, 1, 1)
    qwen3 = 'Here:\n```json\n[{"bbox_2d": [560, 120, 760, 390], "label": "kite"}]\n```\nDone.'
    assert elements("qwen3-vl", qwen3)[0].box == (
        0.56,
        0.12,
        0.76,
        0.39,
    )
    cut = '[{"bbox_2d": [560, 120, 760, 390], "label": "kite"}, {"bbox_2d": [1, 2'
    found = DIALECTS["qwen3-vl"].read(cut.encode(), Context())
    assert len(found.documents[0].elements) == 1 and found.problems[0].code == "cut"
    loop = "[" + ",".join(['{"bbox_2d":[1,2,3,4],"label":"a"}'] * 50) + "]"
    assert len(elements("qwen3-vl", loop)) == 1
    gemini = '[{"box_2d": [120, 560, 390, 760], "label": "kite"}]'
    assert elements("gemini", gemini)[0].box == (
        0.56,
        0.12,
        0.76,
        0.39,
    )
    florence = "red kite<loc_0><loc_0><loc_999><loc_999>"
    assert elements("florence-2", florence)[0].box == (0.0005, 0.0005, 0.9995, 0.9995)
    pali = "<loc0256><loc0512><loc0512><loc0768> red kite ; "
    pali += "<loc0000><loc0000><loc1023><loc1023> hill's top, far"
    kite, hill = elements("paligemma", pali)
    assert kite.box == (0.5, 0.25, 0.75, 0.5) and hill.label == "hill's top, far"
    kosmos = "<phrase> a red kite</phrase><object><patch_index_0113><patch_index_0376></object>"
    box = elements("kosmos-2", kosmos)[0].box
    assert box == pytest.approx((0.547, 0.109, 0.766, 0.359), abs=1e-3)


@pytest.mark.parametrize("name", [name for name in DIALECTS if DIALECTS[name].suffix == ".txt"])
@pytest.mark.parametrize("piece", ["a", "<", "<phrase>", "<loc_1> ", "[{", "(1, 2", "and "])
def test_a_long_answer_takes_no_long_time(name, piece):
    start = time.process_time()
    codes(name, piece * (40_000 // len(piece)))
    assert time.process_time() - start < 20


def test_an_answer_that_nothing_is_there_has_no_elements():
    for text in ("", "[]", "```json\n[ ]\n```", "None.", "<|im_start|>assistant\nnone<|im_end|>"):
        assert elements("qwen3-vl", text) == ()
    assert elements("florence-2", "</s><s></s><pad><pad>") == ()
    assert elements("paligemma", "<eos><pad>") == ()
    for name in ("qwen2-vl", "qwen3-vl", "florence-2", "paligemma", "kosmos-2"):
        assert codes(name, "There is none of them.") == {("", "answer")}


def test_special_tokens_around_an_answer_are_not_part_of_it():
    florence = "</s><s>red kite<loc_0><loc_0><loc_999><loc_999></s><pad>"
    assert [each.label for each in elements("florence-2", florence)] == ["red kite"]
    pali = "<bos><loc0256><loc0512><loc0512><loc0768> red kite<eos><pad>"
    assert [each.label for each in elements("paligemma", pali)] == ["red kite"]


def test_a_single_object_needs_no_list():
    for text in (
        '{"bbox_2d": [560, 120, 760, 390], "label": "red\\n kite"}',
        '```json\n{"bbox_2d": [560, 120, 760, 390], "label": "red kite"}\n```',
    ):
        found = DIALECTS["qwen3-vl"].read(text.encode(), Context())
        (kite,) = found.documents[0].elements
        assert (kite.label, kite.box) == ("red kite", (0.56, 0.12, 0.76, 0.39))
        assert found.problems == []


def test_repeated_boxes_are_counted():
    row = '{"bbox_2d":[1,2,3,4],"label":"a"}'
    found = DIALECTS["qwen3-vl"].read(f"[{','.join([row] * 50)}]".encode(), Context())
    assert [(each.code, each.severity) for each in found.problems] == [("repeat", "warning")]
    assert "49" in found.problems[0].message


def test_a_label_of_florence_may_hold_an_angle_bracket():
    text = "a<b sign<loc_1><loc_2><loc_300><loc_400>hill<loc_1><loc_2><loc_3>"
    found = DIALECTS["florence-2"].read(text.encode(), Context())
    assert [each.label for each in found.documents[0].elements] == ["a<b sign"]
    assert [each.code for each in found.problems] == ["row"]


def test_kosmos_agrees_with_transformers():
    from transformers.models.kosmos2.processing_kosmos2 import (
        clean_text_and_extract_entities_with_bboxes,
    )

    text = (
        "<grounding><phrase> It</phrase> is <phrase> a red kite</phrase><object>"
        "<patch_index_0113><patch_index_0376></delimiter_of_multi_objects/>"
        "<patch_index_0064><patch_index_0070></object> above<phrase> a pole</phrase><object>"
        "<patch_index_0005><patch_index_0805></object> and<phrase> a dot</phrase><object>"
        "<patch_index_0007><patch_index_0007></object>"
    )
    _, entities = clean_text_and_extract_entities_with_bboxes(text)
    expected = [(label, box) for label, _, boxes in entities for box in boxes]
    found = elements("kosmos-2", text)
    assert [each.label for each in found] == [label for label, _ in expected]
    for each, (_, box) in zip(found, expected, strict=True):
        assert each.box == pytest.approx(box)
    cut = text[: text.index("</delimiter")]
    two = f"{cut}\n<phrase> a hill</phrase><object><patch_index_0005><patch_index_0805></object>"
    assert [each.label for each in elements("kosmos-2", cut)] == ["a red kite"]
    assert [each.label for each in elements("kosmos-2", two)] == ["a red kite", "a hill"]


def test_label_studio_turns_about_the_stored_corner_in_pixels():
    def read(**value):
        size = {"original_width": 200, "original_height": 100}
        value |= {"rectanglelabels": ["hat"]}
        results = [
            {"id": "r", "type": "rectanglelabels", "value": value, **size},
            {"id": "r", "type": "textarea", "value": {"text": ["red"]}},
        ]
        task = {"data": {"image": "/x/h-a.jpg"}, "annotations": [{"result": results}]}
        return elements("label-studio", json.dumps([task]))[0]

    hat = read(x=10, y=20, width=30, height=40)
    assert hat.box == pytest.approx((0.1, 0.2, 0.4, 0.6)) and hat.mask is None
    assert hat.description == "red"
    # 40 x 10 pixels about (100, 10), turned clockwise: 10 to the left, 40 down.
    turned = read(x=50, y=10, width=20, height=10, rotation=90)
    assert turned.box == pytest.approx((0.45, 0.1, 0.5, 0.5))


def vertex(name, label="entity", **more):
    edges = ("left", "top", "right", "bottom")
    box = dict(zip(edges, (0.1, 0.1, 0.5, 0.5), strict=True)) | {"confidence": 0.9}
    return {"vertex_id": name, "label": label, "bbox": box, **more}


def test_a_graph_of_entities_counts_instances_once():
    ends = [{"text": "", "target": name} for name in ("trees_0", "horse")]
    graph = {
        "img_path": "x/a.jpg",
        "img_size": [10, 20],
        "detail_caption": "Trees by a horse.",
        "vertices": [
            *(vertex("", "image"), vertex("trees"), vertex("trees_0"), vertex("trees_1")),
            vertex("horse", descs=[{"text": "brown", "label": "detail"}]),
            vertex("[r]", "relation", descs=[{"text": "beside"}], out_edges=ends),
        ],
    }
    document = DIALECTS["gbc"].read(json.dumps(graph).encode(), Context()).documents[0]
    assert [e.label for e in document.elements] == ["trees", "trees", "horse"]
    assert document.key == "a" and document.relations[0].text == "beside"
    assert document.elements[2].description == "brown"


KEYS = """images annotations categories image_id category_id id name file_name width height bbox
segmentation counts size shapes points label shape_type imageWidth imageHeight vertices vertex_id
descs out_edges in_edges target text compositional_deconstruction elements type desc background
style_description color_palette objects description bbox_2d box_2d result value data image x y
rotation rectanglelabels bbox_list region_captions key""".split()  # noqa: SIM905

hostile = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 2000) | st.floats() | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(KEYS),
            inner,
            max_size=6,
        )
    ),
    max_leaves=30,
)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("bbox", '[{"label":"\\ud800","bbox":[0,0.6,0.1,1]},{"label":"kite","bbox":[0,0,1,1]}]'),
        ("bbox", '{"label":"\\ud800","bbox":[0,0.6,0.1,1]}'),
        ("qwen3-vl", '[{"bbox_2d": [10, 20, 300, 400], "label": "\\ud800"}]'),
        ("qwen2.5-vl", '[{"bbox_2d": [1, 2, 30, 40], "label": "a", "label": "\\udc00"}]'),
    ],
)
def test_half_a_surrogate_pair_is_a_problem(name, text):
    reading = DIALECTS[name].read(text.encode(), Context("a.json", 500, 500))
    assert "surrogate" in [problem.code for problem in reading.problems]
    assert not reading.documents


def test_a_faulty_object_of_an_answer_leaves_the_others():
    bad = '{"bbox_2d": [1, 2, 9, 9], "label": "\\ud800"}'
    good = '{"bbox_2d": [1, 2, 9, 9], "label": "b"}'
    text = f"[{bad}, {good}]"
    reading = DIALECTS["qwen3-vl"].read(text.encode(), Context("a.json"))
    assert [e.label for e in reading.documents[0].elements] == ["b"]
    assert [(p.code, p.severity) for p in reading.problems] == [
        ("surrogate", "warning"),
        ("cut", "warning"),
    ]


@pytest.mark.parametrize("name", DIALECTS)
@given(value=hostile)
def test_no_document_is_a_traceback(name, value):
    for form in (value, [value], {"images": [value], "annotations": [value], "vertices": [value]}):
        codes(name, json.dumps(form))


@pytest.mark.parametrize("name", DIALECTS)
@given(data=st.binary(max_size=200))
def test_no_bytes_are_a_traceback(name, data):
    codes(name, data)

"""Detectors at the sizes of public checkpoints, without weights: what our backends read of them.

The defaults of transformers' configurations are those of the checkpoints named here. Of layers
that are alike there are fewer, which changes no shape and saves a minute.
"""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
import transformers as tf
from transformers.models.d_fine import modeling_d_fine
from transformers.models.grounding_dino import modeling_grounding_dino
from transformers.models.mask2former import modeling_mask2former
from transformers.models.rt_detr_v2 import modeling_rt_detr_v2

from pipelines.extract.detectors.pretrained import InstanceSegmenter, ObjectDetector

FEW = {"encoder_layers": 2, "decoder_layers": 2}
COCO = {"id2label": {i: f"class {i}" for i in range(80)}}
RESNET = {
    "use_timm_backbone": False,
    "backbone": None,
    "backbone_config": tf.ResNetConfig(out_features=["stage4"]),
}
TEXT = {"input_ids": (2, 16), "attention_mask": (2, 16)}
ONE_TEXT = {"input_ids": (1, 9), "attention_mask": (1, 9), "token_type_ids": (1, 9)}
ASKED = {"input_boxes": (1, 5, 4)}
FOUR = {"logits": (1, 300, 80), "pred_boxes": (1, 300, 4)}
MASKS = {"iou_scores": (1, 5, 3), "pred_masks": (1, 5, 3, 256, 256)}
REAL = {
    "rtdetr_r50vd": (
        tf.RTDetrForObjectDetection,
        tf.RTDetrConfig(decoder_layers=2, **COCO),
        (640, 640),
        {},
        FOUR,
    ),
    "rtdetr_v2_r18vd": (
        tf.RTDetrV2ForObjectDetection,
        tf.RTDetrV2Config(decoder_layers=2, **COCO),
        (640, 640),
        {},
        FOUR,
    ),
    "dfine-large": (
        tf.DFineForObjectDetection,
        tf.DFineConfig(decoder_layers=2, **COCO),
        (640, 640),
        {},
        FOUR,
    ),
    "yolos-base": (
        tf.YolosForObjectDetection,
        tf.YolosConfig(**COCO),
        (512, 864),
        {},
        {"logits": (1, 100, 81), "pred_boxes": (1, 100, 4)},
    ),
    "owlv2-base-patch16": (
        tf.Owlv2ForObjectDetection,
        tf.Owlv2Config(),
        (768, 768),
        TEXT,
        {"logits": (1, 2304, 2), "pred_boxes": (1, 2304, 4)},
    ),
    "grounding-dino-tiny": (
        tf.GroundingDinoForObjectDetection,
        tf.GroundingDinoConfig(**FEW),
        (800, 800),
        ONE_TEXT,
        {"logits": (1, 900, 256), "pred_boxes": (1, 900, 4)},
    ),
    "mask2former-swin-tiny": (
        tf.Mask2FormerForUniversalSegmentation,
        tf.Mask2FormerConfig(**FEW, **COCO),
        (384, 384),
        {},
        {"class_queries_logits": (1, 100, 81), "masks_queries_logits": (1, 100, 96, 96)},
    ),
    "sam-vit-base": (tf.SamModel, tf.SamConfig(), (1024, 1024), ASKED, MASKS),
    "sam2-hiera-tiny": (tf.Sam2Model, tf.Sam2Config(), (1024, 1024), ASKED, MASKS),
}
PROCESSORS = {
    "rtdetr_r50vd": (ObjectDetector, tf.RTDetrImageProcessor),
    "rtdetr_v2_r18vd": (ObjectDetector, tf.RTDetrImageProcessor),
    "dfine-large": (ObjectDetector, tf.RTDetrImageProcessor),
    "yolos-base": (ObjectDetector, tf.YolosImageProcessor),
    "mask2former-swin-tiny": (InstanceSegmenter, tf.Mask2FormerImageProcessor),
}


def build(network, config):
    """A network of these sizes without weights; its mask code looks at values unless eager."""
    with torch.device("meta"):
        return network._from_config(config, attn_implementation="eager").eval().to("meta")


@pytest.fixture
def unchecked(monkeypatch):
    """Leave out what the networks check of values, which are not there."""
    for module in (
        modeling_d_fine,
        modeling_grounding_dino,
        modeling_mask2former,
        modeling_rt_detr_v2,
    ):
        monkeypatch.setattr(module, "torch_compilable_check", lambda *_: None, raising=False)


@pytest.mark.parametrize("name", REAL)
def test_outputs_have_the_shapes_that_are_read(name, unchecked):
    network, config, size, more, shapes = REAL[name]
    model = build(network, config)
    with torch.device("meta"), torch.no_grad():
        asked = {key: torch.zeros(shape, dtype=_dtype(key)) for key, shape in more.items()}
        found = model(pixel_values=torch.zeros(1, 3, *size), **asked)
    assert {key: tuple(found[key].shape) for key in shapes} == shapes


def _dtype(key: str) -> torch.dtype:
    return torch.float32 if key == "input_boxes" else torch.int64


@pytest.mark.parametrize("name", PROCESSORS)
def test_outputs_of_these_shapes_become_detections(name):
    _, config, _, _, shapes = REAL[name]
    kind, processor = PROCESSORS[name]
    outputs = SimpleNamespace(**{key: torch.ones(shape) for key, shape in shapes.items()})
    _assert_detections(kind, processor(), config, outputs)


def test_detr_resnet_50():
    """Its forward pass looks at the values of the padding, so its heads are looked at here."""
    config = tf.DetrConfig(id2label={i: f"class {i}" for i in range(91)}, **RESNET)
    model = build(tf.DetrForObjectDetection, config)
    assert model.class_labels_classifier.weight.shape == (92, 256)
    assert model.bbox_predictor.layers[-1].weight.shape == (4, 256)
    assert model.model.query_position_embeddings.weight.shape == (100, 256)
    outputs = SimpleNamespace(logits=torch.ones(1, 100, 92), pred_boxes=torch.ones(1, 100, 4))
    _assert_detections(ObjectDetector, tf.DetrImageProcessor(), config, outputs)


def _assert_detections(kind, processor, config, outputs):
    backend = kind.__new__(kind)
    backend.confidence, backend.max_detections = 0.0, 8
    backend._processor, backend._device = processor, torch.device("cpu")

    class Network(SimpleNamespace):
        def __call__(self, **inputs):
            return outputs

    backend._model = Network(config=config)
    (found,) = backend.predict([np.zeros((48, 64, 3), np.uint8)], [""])
    assert 1 <= len(found.labels) <= 8
    assert set(found.labels) <= set(config.id2label.values())
    assert found.boxes.shape == (len(found.labels), 4)
    if found.masks is not None:
        assert found.masks.shape[1:] == (48, 64)

import numpy as np
import pytest
import torch
from transformers import ResNetConfig, ResNetModel, ViTImageProcessor

from pipelines.core.errors import KaleidoError
from pipelines.evaluate.networks import PretrainedFeatures


@pytest.fixture
def pictures(rng):
    return rng.integers(0, 255, (5, 20, 20, 3), dtype=np.uint8)


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def test_the_name_tells_the_weights(dinov2, clip):
    names = [PretrainedFeatures(str(folder)).name for folder in (dinov2, clip)]
    assert [name.partition("@")[0] for name in names] == ["dinov2", "clip"]
    assert all(len(name.partition("@")[2]) == 8 for name in names)


@pytest.mark.parametrize(("network", "width", "reads"), [("dinov2", 32, False), ("clip", 16, True)])
def test_features_of_a_picture_do_not_depend_on_its_neighbours(
    network, width, reads, pictures, request, monkeypatch
):
    features = PretrainedFeatures(str(request.getfixturevalue(network)))
    assert (features.width, features.reads_text) == (width, reads)
    together = features(pictures)
    assert together.shape == (5, width) and together.dtype == np.float32
    monkeypatch.setattr("pipelines.evaluate.networks.BATCH", 2)
    np.testing.assert_allclose(features(pictures), together, atol=1e-5)
    assert np.ptp(together, axis=0).min() > 0


def test_clip_s_features_are_those_of_its_own_class(clip, pictures):
    from transformers import CLIPModel, CLIPProcessor

    model, processor = CLIPModel.from_pretrained(clip).eval(), CLIPProcessor.from_pretrained(clip)
    inputs = processor(
        text=["a star", "two circles"], images=list(pictures[:2]), padding=True, return_tensors="pt"
    )
    with torch.inference_mode():
        both = model(**inputs)
    features = PretrainedFeatures(str(clip))
    for ours, theirs in (
        (features(pictures[:2]), both.image_embeds),
        (features.texts(["a star", "two circles"]), both.text_embeds),
    ):
        unit = ours / np.linalg.norm(ours, axis=1, keepdims=True)
        np.testing.assert_allclose(unit, theirs.numpy(), atol=1e-5)


def test_a_convolutional_network_serves_as_well(tmp_path, pictures):
    config = ResNetConfig(embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1])
    ResNetModel(config).save_pretrained(tmp_path)
    ViTImageProcessor(size={"height": 32, "width": 32}).save_pretrained(tmp_path)
    assert PretrainedFeatures(str(tmp_path))(pictures).shape == (5, 16)


def test_what_is_no_network_is_named(tmp_path):
    with pytest.raises(KaleidoError, match="no weights as safetensors"):
        PretrainedFeatures(str(tmp_path))


def test_a_network_without_a_vector_of_the_picture_is_named(tmp_path):
    from transformers import SegformerConfig, SegformerModel

    config = SegformerConfig(
        num_encoder_blocks=1, depths=[1], hidden_sizes=[8], num_attention_heads=[1], sr_ratios=[1]
    )
    SegformerModel(config).save_pretrained(tmp_path)
    ViTImageProcessor(size={"height": 32, "width": 32}).save_pretrained(tmp_path)
    with pytest.raises(KaleidoError, match="no vector of a whole picture"):
        PretrainedFeatures(str(tmp_path))

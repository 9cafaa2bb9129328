import numpy as np
import pytest
import torch
from transformers import (
    AutoModel,
    CLIPConfig,
    Dinov2Config,
    ResNetConfig,
    ResNetModel,
    SiglipConfig,
    ViTImageProcessor,
)

from pipelines.core.errors import KaleidoError
from pipelines.evaluate.networks import PretrainedFeatures, image_vectors

DINOV2_BASE = Dinov2Config(
    hidden_size=768,
    num_hidden_layers=12,
    num_attention_heads=12,
    image_size=518,
    patch_size=14,
)
DINOV2_LARGE = Dinov2Config(
    hidden_size=1024,
    num_hidden_layers=24,
    num_attention_heads=16,
    image_size=518,
    patch_size=14,
)
CLIP_LARGE_336 = CLIPConfig(
    projection_dim=768,
    vision_config={
        "hidden_size": 1024,
        "intermediate_size": 4096,
        "num_hidden_layers": 24,
        "num_attention_heads": 16,
        "image_size": 336,
        "patch_size": 14,
    },
    text_config={
        "hidden_size": 768,
        "intermediate_size": 3072,
        "num_hidden_layers": 12,
        "num_attention_heads": 12,
    },
)
SIGLIP_SO400M_384 = SiglipConfig(
    vision_config={
        "hidden_size": 1152,
        "intermediate_size": 4304,
        "num_hidden_layers": 27,
        "num_attention_heads": 16,
        "image_size": 384,
        "patch_size": 14,
    },
    text_config={
        "hidden_size": 1152,
        "intermediate_size": 4304,
        "num_hidden_layers": 27,
        "num_attention_heads": 16,
    },
)
"""As these models on the hub are configured; what is not said is the default of transformers."""


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


@pytest.mark.parametrize(
    ("config", "side", "width", "millions"),
    [
        pytest.param(DINOV2_BASE, 224, 768, 86.6, id="facebook/dinov2-base"),
        pytest.param(DINOV2_LARGE, 224, 1024, 304.4, id="facebook/dinov2-large"),
        pytest.param(CLIP_LARGE_336, 336, 768, 427.9, id="openai/clip-vit-large-patch14-336"),
        pytest.param(SIGLIP_SO400M_384, 384, 1152, 878.0, id="google/siglip-so400m-patch14-384"),
    ],
)
def test_real_networks_give_one_vector_a_picture(config, side, width, millions):
    # On the meta device there are shapes and no numbers, so nothing is downloaded or computed.
    with torch.device("meta"):
        network = AutoModel.from_config(config).eval()
        pictures = torch.empty(2, 3, side, side)
    with torch.inference_mode():
        vectors = image_vectors(network, pixel_values=pictures)
    assert vectors.shape == (2, width) and vectors.device.type == "meta"
    size = sum(parameter.numel() for parameter in network.parameters()) / 1e6
    assert size == pytest.approx(millions, rel=0.01)


def test_what_is_no_network_is_named(tmp_path):
    with pytest.raises(KaleidoError) as caught:
        PretrainedFeatures(str(tmp_path))
    assert caught.value.code == "bad-model"
    assert caught.value.what == str(tmp_path)


def test_a_network_without_a_vector_of_the_picture_is_named(tmp_path):
    from transformers import SegformerConfig, SegformerModel

    config = SegformerConfig(
        num_encoder_blocks=1, depths=[1], hidden_sizes=[8], num_attention_heads=[1], sr_ratios=[1]
    )
    SegformerModel(config).save_pretrained(tmp_path)
    ViTImageProcessor(size={"height": 32, "width": 32}).save_pretrained(tmp_path)
    with pytest.raises(KaleidoError) as caught:
        PretrainedFeatures(str(tmp_path))
    assert "DINOv2" in caught.value.hint

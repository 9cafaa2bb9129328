from __future__ import annotations

import json
from copy import deepcopy

import huggingface_hub
import numpy as np
import pytest
import torch
from diffusers import DiffusionPipeline

from kaleido_diffusion import KaleidoPipeline, load_models
from pipelines.core.errors import KaleidoError
from pipelines.core.images import decode_image
from pipelines.documents.projection import document_of
from pipelines.latents.sequence import z_from_text
from pipelines.sample.bundle import Bundle

CAPTION = "two circles and a star"


def seeded(seed: int = 7) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def pipe(bundle) -> KaleidoPipeline:
    return KaleidoPipeline.from_bundle(bundle)


@pytest.fixture
def call(pipe):
    """Return a function that draws three images in three steps."""

    def run(prompt=CAPTION, **more):
        options = {"num_images_per_prompt": 3, "num_inference_steps": 3, "generator": seeded()}
        return pipe(prompt, **options | {"output_type": "np"} | more)

    return run


def test_images_are_those_of_the_command(invoke, tmp_path):
    flags = ("--n", "2", "--steps", "2", "--cfg", "5", "--seed", "7")
    invoke("sample", CAPTION, *flags, "--out", str(tmp_path / "out"))
    pipe = KaleidoPipeline.from_bundle(load_models(embedded=True))
    found = pipe(CAPTION, 2, 5.0, 2, generator=seeded(7))
    lines = (tmp_path / "out" / "samples.jsonl").read_text("utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    assert [row["z"] for row in rows] == found.z
    for row, image in zip(rows, found.images, strict=True):
        file = tmp_path / "out" / row["file"]
        np.testing.assert_array_equal(np.asarray(image), decode_image(file.read_bytes(), file.name))


def test_it_is_a_pipeline_of_diffusers(pipe):
    assert isinstance(pipe, DiffusionPipeline)
    assert set(pipe.components) == {"prior", "tokenizer", "context", "denoiser", "reader"}
    assert pipe.to("cpu").device == torch.device("cpu")


def test_a_saved_pipeline_draws_the_same(bundle, call, tmp_path):
    own = Bundle(bundle.prior, bundle.diffusion, "kaleido", "test")
    KaleidoPipeline.from_bundle(own).save_pretrained(tmp_path / "saved")
    index = json.loads((tmp_path / "saved" / "model_index.json").read_text("utf-8"))
    assert index["_class_name"] == "KaleidoPipeline"
    again = KaleidoPipeline.from_pretrained(tmp_path / "saved")
    expected = call()
    found = again(CAPTION, 3, num_inference_steps=3, generator=seeded(), output_type="np")
    assert found.z == expected.z
    np.testing.assert_array_equal(found.images, expected.images)


def test_a_saved_pipeline_keeps_the_prior_that_reads(bundle, tmp_path):
    later = deepcopy(bundle.prior)
    with torch.no_grad():
        later.model.shared.weight.mul_(1.5)
    own = Bundle(later, bundle.diffusion, "kaleido", "test", older=bundle.prior)
    first = KaleidoPipeline.from_bundle(own)
    first.save_pretrained(tmp_path / "saved")
    again = KaleidoPipeline.from_pretrained(tmp_path / "saved")
    asked = {"num_inference_steps": 2, "output_type": "np"}
    expected, found = (pipe(CAPTION, 2, generator=seeded(), **asked) for pipe in (first, again))
    assert found.z == expected.z
    np.testing.assert_array_equal(found.images, expected.images)
    assert again.to("meta").components["reader"].device.type == "meta"


def test_it_is_loaded_from_the_hub_without_code(bundle, tmp_path, monkeypatch):
    own = Bundle(bundle.prior, bundle.diffusion, "kaleido", "test")
    KaleidoPipeline.from_bundle(own).save_pretrained(tmp_path / "saved")
    asked = []

    def fetch(name, allow_patterns, ignore_patterns):
        asked.append((name, allow_patterns))
        return str(tmp_path / "saved")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", fetch)
    assert KaleidoPipeline.from_pretrained("someone/kaleido").components
    [(name, patterns)] = asked
    assert name == "someone/kaleido"
    assert not any(pattern.endswith((".py", ".bin")) for pattern in patterns)


def test_another_prior_is_refused(bundle, tmp_path):
    own = Bundle(bundle.prior, bundle.diffusion, "kaleido", "test")
    KaleidoPipeline.from_bundle(own).save_pretrained(tmp_path / "saved")
    path = tmp_path / "saved" / "diffusion" / "kaleido.json"
    changed = json.loads(path.read_text("utf-8")) | {"prior": "0" * 64}
    path.write_text(json.dumps(changed), "utf-8")
    with pytest.raises(KaleidoError) as caught:
        KaleidoPipeline.from_pretrained(tmp_path / "saved")
    assert caught.value.code == "model-mismatch"


def test_outputs_have_the_forms_of_diffusers(call):
    arrays = call().images
    assert arrays.shape == (3, 16, 16, 3) and 0 <= arrays.min() < arrays.max() <= 1
    tensors = call(output_type="pt").images
    np.testing.assert_array_equal(tensors.permute(0, 2, 3, 1).numpy(), arrays)
    pictures, z = call(output_type="pil", return_dict=False)
    np.testing.assert_array_equal(np.asarray(pictures[1]) / np.float32(255), arrays[1])
    assert len(z) == 3
    with pytest.raises(KaleidoError):
        call(output_type="latent")


def test_given_z_are_drawn_with_the_noise_of_their_number(call):
    first = call()
    again = call(z=first.z)
    np.testing.assert_array_equal(again.images, first.images)
    documents = [document_of(z_from_text(z), CAPTION, (16, 16)) for z in first.z]
    np.testing.assert_array_equal(call(z=documents).images, first.images)
    swapped = call(z=first.z[::-1])
    assert [z_from_text(z) for z in swapped.z] == [z_from_text(z) for z in first.z[::-1]]
    assert np.abs(swapped.images - first.images).max() > 0
    with pytest.raises(KaleidoError):
        call(prompt=["a", "b"], z=first.z)


def test_kinds_of_z_can_be_chosen(call):
    assert all("<palette>" not in z for z in call(z_kinds=["boxes"]).z)
    with pytest.raises(KaleidoError):
        call(z_kinds=["description"])


def test_several_captions_are_drawn_in_order(call):
    both = call(prompt=[CAPTION, "a red star"])
    assert len(both.images) == len(both.z) == 6
    np.testing.assert_array_equal(both.images[:3], call().images)


def test_guidance_and_negative_prompts_change_the_image(call):
    plain, guided = call(guidance_scale=1.0), call(guidance_scale=5.0)
    assert plain.z == guided.z
    assert np.abs(plain.images - guided.images).max() > 0
    away = call(guidance_scale=5.0, negative_prompt="a green square")
    assert away.z == guided.z
    assert np.abs(away.images - guided.images).max() > 0
    unguided = call(guidance_scale=1.0, negative_prompt="a green square")
    np.testing.assert_array_equal(unguided.images, plain.images)


def test_a_used_generator_draws_other_images(call):
    generator = seeded()
    first, second = call(generator=generator), call(generator=generator)
    assert first.z != second.z
    np.testing.assert_array_equal(first.images, call().images)


def test_without_a_generator_torch_seeds(call):
    torch.manual_seed(3)
    first, second = call(generator=None), call(generator=None)
    torch.manual_seed(3)
    assert call(generator=None).z == first.z != second.z


def test_a_callback_sees_every_step_and_can_change_the_images(pipe, call):
    seen = []

    def watch(given, step, timestep, values):
        assert given is pipe
        seen.append((step, float(timestep), tuple(values["latents"].shape)))
        return values

    np.testing.assert_array_equal(call(callback_on_step_end=watch).images, call().images)
    assert [step for step, _, _ in seen] == [0, 1, 2]
    times = [time for _, time, _ in seen]
    assert times[0] == 1000.0 > times[1] > times[2] > 0.0 and seen[0][2] == (3, 3, 16, 16)
    black = call(callback_on_step_end=lambda *_: {"latents": torch.full((3, 3, 16, 16), -1.0)})
    assert black.images.max() == 0


def test_batches_do_not_change_images(call):
    np.testing.assert_allclose(call(batch_size=1).images, call().images, atol=1 / 255)


def test_unknown_options_are_refused(pipe, tmp_path):
    with pytest.raises(KaleidoError):
        pipe.save_pretrained(tmp_path / "saved", variant="fp16")
    with pytest.raises(KaleidoError):
        KaleidoPipeline.from_pretrained(tmp_path / "saved", trust_remote_code=True)
    with pytest.raises(KaleidoError):
        KaleidoPipeline.from_pretrained(tmp_path / "none")

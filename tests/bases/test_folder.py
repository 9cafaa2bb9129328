from __future__ import annotations

import json
import shutil

import huggingface_hub
import pytest

from pipelines.bases.base import load_base
from pipelines.bases.families.sana import Sana
from pipelines.bases.folder import open_folder
from pipelines.core.errors import KaleidoError


@pytest.fixture
def copy(base_folder, tmp_path):
    """Return a copy of the tiny Sana's folder."""
    return shutil.copytree(base_folder("sana"), tmp_path / "sana")


def change(path, **values):
    content = json.loads(path.read_text("utf-8")) | values
    path.write_text(json.dumps(content), "utf-8")


def refused(name) -> KaleidoError:
    with pytest.raises(KaleidoError) as caught:
        load_base(str(name))
    return caught.value


def test_a_pipeline_of_no_family_is_refused(copy):
    change(copy / "model_index.json", _class_name="LattePipeline")
    error = refused(copy)
    assert (error.code, "SanaPipeline" in error.hint) == ("bad-model", True)


def test_classes_of_other_packages_are_not_made(copy):
    change(copy / "model_index.json", transformer=["evil_module", "Network"])
    assert refused(copy).code == "unsafe-model"


def test_a_component_that_names_code_is_refused(copy):
    change(copy / "text_encoder" / "config.json", auto_map={"AutoModel": "code.Model"})
    assert refused(copy).code == "unsafe-model"


def test_pickles_are_not_read(copy):
    weights = copy / "transformer" / "diffusion_pytorch_model.safetensors"
    weights.rename(weights.with_suffix(".bin"))
    assert refused(copy).code == "bad-model"


def test_a_missing_component_is_named(copy):
    shutil.rmtree(copy / "vae")
    assert "vae" in refused(copy).why


def test_a_folder_of_something_else_is_refused(tmp_path):
    assert refused(tmp_path).code == "bad-model"
    assert refused(tmp_path / "nothing").code == "bad-option"


def test_the_identity_follows_the_weights_and_not_the_place(base_folder, copy):
    before = open_folder(str(base_folder("sana"))).identity
    assert open_folder(str(copy)).identity == before
    weights = copy / "transformer" / "diffusion_pytorch_model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    assert open_folder(str(copy)).identity != before


def test_of_a_base_on_the_hub_the_used_files_alone_are_fetched(base_folder, tmp_path, monkeypatch):
    commit = "0123456789" * 4
    snapshot = tmp_path / "models--someone--sana" / "snapshots" / commit
    shutil.copytree(base_folder("sana"), snapshot)
    asked: list[str] = []

    def fetch(name, allow_patterns, ignore_patterns):
        assert name == "someone/sana"
        asked.extend(allow_patterns)
        return str(snapshot)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", fetch)
    found = open_folder("someone/sana")
    assert (found.path, found.identity, found.family.name) == (snapshot, commit, "sana")
    assert "transformer/*.safetensors" in asked
    assert not any(pattern.endswith((".bin", ".py", ".ckpt", "*")) for pattern in asked)
    asked.clear()
    open_folder("someone/sana", with_weights=False)
    assert not any("safetensors" in pattern for pattern in asked)


def test_a_hub_that_does_not_answer_is_the_users_error(monkeypatch):
    def fail(*_, **__):
        raise OSError("no route to host")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", fail)
    assert refused("someone/sana").code == "bad-option"


def test_the_safety_checker_is_not_loaded(base_folder, tmp_path):
    folder = shutil.copytree(base_folder("sd15"), tmp_path / "sd15")
    checker = ["stable_diffusion", "StableDiffusionSafetyChecker"]  # its folder is not there
    change(folder / "model_index.json", safety_checker=checker, requires_safety_checker=True)
    assert load_base(str(folder)).pipe.safety_checker is None


@pytest.mark.parametrize(
    ("family", "name", "change_of", "is_distilled"),
    [
        ("flux2-klein", "FLUX.2-klein-4B", {"is_distilled": True}, True),
        ("flux2-klein", "FLUX.2-klein-base-4B", {}, False),
        ("z-image", "Z-Image-Turbo", {}, True),
        ("z-image", "Z-Image", {}, False),
        ("sdxl", "sdxl-lightning-4step", {}, True),
    ],
)
def test_distilled_models_are_known(base_folder, tmp_path, family, name, change_of, is_distilled):
    folder = shutil.copytree(base_folder(family), tmp_path / name)
    change(folder / "model_index.json", **change_of)
    assert bool(open_folder(str(folder)).distilled) == is_distilled


def test_steps_of_a_distilled_model_are_few_unless_guidance_alone_was_distilled(base_folder):
    assert open_folder(str(base_folder("flux1"))).usual_guidance == (28, 1.0)
    assert open_folder(str(base_folder("sana"))).usual_guidance == (20, 4.5)


def test_a_distilled_model_without_the_number_takes_few_steps(base_folder, tmp_path):
    folder = shutil.copytree(base_folder("flux1"), tmp_path / "FLUX.1-schnell")
    change(folder / "transformer" / "config.json", guidance_embeds=False)
    assert open_folder(str(folder)).usual_guidance == (4, 1.0)


def test_a_consistency_model_is_known_by_its_network(base_folder, tmp_path):
    folder = shutil.copytree(base_folder("sdxl"), tmp_path / "fast")
    assert not open_folder(str(folder)).distilled
    change(folder / "unet" / "config.json", time_cond_proj_dim=8)
    assert "time_cond_proj_dim" in open_folder(str(folder)).distilled


def test_a_diffusers_that_is_too_old_is_named(copy, monkeypatch):
    monkeypatch.setattr(Sana, "pipelines", ("NewSanaPipeline",))
    change(copy / "model_index.json", _class_name="NewSanaPipeline")
    error = refused(copy)
    assert (error.code, "NewSanaPipeline" in error.why) == ("not-installed", True)

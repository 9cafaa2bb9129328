"""The shipped judge, real pictures as it sees them, and tiny models to draw others."""

from __future__ import annotations

import shutil
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import (
    CLIPConfig,
    CLIPImageProcessor,
    CLIPModel,
    CLIPProcessor,
    PreTrainedTokenizerFast,
)

from pipelines.embedded.paths import embedded_path
from pipelines.evaluate.metrics.compare import aims, changes, gaps, parity
from pipelines.evaluate.metrics.statistics import Estimate
from pipelines.evaluate.observe import Eye, Observed, PictureSource, join, observe
from pipelines.evaluate.protocol import ProtocolNotes
from pipelines.evaluate.report.contents import Grid, Report
from pipelines.latents.vocabulary import train_tokenizer
from pipelines.models.diffusion import build_diffusion
from pipelines.models.new_prior import build_prior
from pipelines.sample.candidates import Checks
from pipelines.sample.choice import Decoding
from pipelines.scenes.factors import SHAPES
from pipelines.scenes.generate import scene_of
from pipelines.scenes.judge import Judge
from pipelines.scenes.measure import measure
from pipelines.scenes.protocol import real_of
from pipelines.scenes.reference import Asked
from pipelines.scenes.titles import CURVES, HEADLINES, PARITY_ENTROPIES, TITLES
from pipelines.workspace.settings import DiffusionSettings, PriorSettings, SampleSettings
from pipelines.workspace.workspace import Workspace

KINDS = ("boxes",)
HOSTILE = "<script>alert(1)</script>\"'> onload=x {{7*7}} &amp; two hearts"
CAPTIONS = ("a circle", "two hearts", "a star and a square", "three ovals")


def look(source: PictureSource, judge: Judge) -> Observed:
    """Observe the captions under two seeds."""
    return join([observe(source, Eye(judge.inspect).run(), CAPTIONS, seed) for seed in (0, 1)])


@pytest.fixture(scope="session")
def judge() -> Judge:
    """Return the judge that is shipped."""
    return Judge.load(embedded_path("judge"))


@pytest.fixture(scope="session")
def reference(judge) -> Observed:
    """Return twelve real pictures of each caption under two seeds."""
    return look(real_of(12, "reference"), judge)


@pytest.fixture(scope="session")
def data(judge) -> Observed:
    """Return a second such set."""
    return look(real_of(12, "data"), judge)


@pytest.fixture(scope="session")
def tiny_models(tmp_path_factory) -> Path:
    """Return a folder with tiny untrained models of the real classes, as they are saved."""
    folder = tmp_path_factory.mktemp("models")
    torch.manual_seed(0)
    small = PriorSettings(d_model=32, d_ff=32, layers=1, heads=2, z_kinds=KINDS)
    tokenizer = train_tokenizer([scene_of(0, index)[1] for index in range(200)], 1500)
    prior = build_prior(small, tokenizer, SHAPES)
    prior.save(folder / "prior")
    settings = DiffusionSettings(image_size=16, layers=1, heads=2, head_dim=8, patch_size=4)
    for name, kinds in (("diffusion", KINDS), ("baseline", ())):
        build_diffusion(settings, prior, kinds).save(folder / name)
    return folder


@pytest.fixture
def trained(workspace, tiny_models) -> Workspace:
    """Return a workspace that holds them."""
    shutil.copytree(tiny_models, workspace.root / "models")
    return workspace


@pytest.fixture(scope="session")
def clip(tmp_path_factory) -> Path:
    """Return a folder with a tiny untrained CLIP and a tokenizer of the words of captions."""
    folder = tmp_path_factory.mktemp("networks") / "clip"
    torch.manual_seed(0)
    special = ["<pad>", "<start>", "<end>"]
    words = [*special, *sorted({word for caption in CAPTIONS for word in caption.split()})]
    tokenizer = Tokenizer(models.WordLevel({w: i for i, w in enumerate(words)}, unk_token="<pad>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<start> $A <end>", special_tokens=[("<start>", 1), ("<end>", 2)]
    )
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",
        bos_token="<start>",
        eos_token="<end>",
        model_max_length=16,
    )
    sizes = {"hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 1}
    sizes["num_attention_heads"] = 2
    text = {**sizes, "vocab_size": len(words), "max_position_embeddings": 16}
    text |= {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
    vision = {**sizes, "image_size": 32, "patch_size": 16}
    config = CLIPConfig(text_config=text, vision_config=vision, projection_dim=16)
    CLIPModel(config).save_pretrained(folder)
    side = {"height": 32, "width": 32}
    images = CLIPImageProcessor(size={"shortest_edge": 32}, crop_size=side)
    CLIPProcessor(images, fast).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def report(data, reference) -> Report:
    """Return a report of real pictures in the place of drawn ones."""
    asked = [Asked.by(caption) for caption in CAPTIONS]
    real = measure(data, reference, asked, 0.98)
    z = [[["<boxes> star <1><1><9><9>"] * 12] * 2] * len(CAPTIONS)
    drawn = measure(replace(data, z=z), reference, asked, 0.98)
    low = real | {"vendi": Estimate(3.0, real["vendi"].table - real["vendi"].value + 3.0)}
    estimates = {
        ("baseline", 1.0): real,
        ("kaleido", 1.0): drawn,
        ("baseline", 7.5): low,
        ("kaleido", 7.5): drawn,
    }
    pictures = np.zeros((3, 16, 16, 3), np.uint8)
    return Report(
        plan={
            "captions": (HOSTILE, "a star"),
            "n": 12,
            "cfg": (1.0, 7.5),
            "steps": 30,
            "seeds": (0, 1),
            "decoding": asdict(Decoding(temperature=0.5)),
            "checks": asdict(Checks.of(SampleSettings())),
            "cfg_begin": 1.0,
            "cfg_end": 0.5,
            "training": 2048,
        },
        features="scenes-judge@01234567",
        tokenizer="",
        notes=ProtocolNotes(
            "renders",
            "three levels",
            "rotation",
            ceiling={"box": 0.99, "adherence": 0.98},
            parity_entropies=PARITY_ENTROPIES,
            headlines=HEADLINES,
            curves=CURVES,
            titles=TITLES,
        ),
        sources={"baseline": "embedded", "kaleido": "embedded"},
        images_seen={"baseline": 2000, "kaleido": 1000},
        z_kinds={"baseline": (), "kaleido": ("boxes",)},
        parity=replace(
            parity(estimates, "", PARITY_ENTROPIES), sound=True, reason=""
        ),  # as if of more seeds
        changes=changes(estimates, HEADLINES),
        aims=aims(estimates),
        gaps=gaps(estimates | {("given", 7.5): real}),
        estimates=estimates,
        data=real,
        real=((0, 1), 12),
        clusters=("two hearts", "a star"),
        grids=[Grid(HOSTILE, [("reference", 0.0, pictures), ("baseline", 7.5, pictures)])],
        command="kaleido evaluate --name x",
    )

import json
from dataclasses import replace

import pytest
import torch

from pipelines.core.config import override
from pipelines.core.errors import InputMissing, KaleidoError
from pipelines.core.settings import DiffusionSettings, PriorSettings
from pipelines.data.scenes.factors import SHAPES
from pipelines.data.scenes.generate import make_records, scene_of
from pipelines.evaluate.run import evaluate
from pipelines.latents.vocabulary import train_tokenizer
from pipelines.models.diffusion import build_diffusion
from pipelines.models.prior import build_prior

KINDS = ("boxes",)
CAPTIONS = ("a star", "two circles")
SMALL = {"n": 3, "steps": 2, "cfg": (1.0, 7.5), "seeds": (0, 1)}


@pytest.fixture
def trained(workspace):
    """A workspace with tiny untrained models of the real classes."""
    torch.manual_seed(0)
    small = PriorSettings(d_model=32, d_ff=32, layers=1, heads=2, z_kinds=KINDS)
    tokenizer = train_tokenizer([scene_of(0, index)[1] for index in range(200)], 1500)
    prior = build_prior(small, tokenizer, SHAPES)
    prior.save(workspace.models("prior"))
    settings = DiffusionSettings(layers=1, heads=2, head_dim=8, patch_size=4)
    for name, kinds in (("diffusion", KINDS), ("baseline", ())):
        build_diffusion(settings, 16, prior, kinds).save(workspace.models(name))
    return workspace


def test_untrained_models_give_a_void_report_with_every_row(trained):
    summary = evaluate(trained, name="first", captions=CAPTIONS, **SMALL)
    assert summary.void.startswith("at CFG 1 the models are not equally trained")
    assert "VOID" in summary.report.read_text("utf-8")
    content = json.loads(summary.json.read_text("utf-8"))
    assert content["void"] == summary.void
    rows = content["rows"]
    assert {(row["model"], row["cfg"]) for row in rows} == {
        *(("data", None), ("baseline", 1.0), ("baseline", 7.5), ("kaleido", 1.0)),
        ("kaleido", 7.5),
    }
    for row in rows:
        assert row["n"] == 2 * 3 * 2 and row["n_per_caption"] == 3 and row["seeds"] == [0, 1]
        assert row["z_kinds"] == (["boxes"] if row["model"] == "kaleido" else [])
        name = content["judge"]["name"]
        assert row["metric"].startswith("z.") or row["metric"].endswith(f"[{name}]")
    parses = [row for row in rows if row["metric"] == "z.parses"]
    assert [row["value"] for row in parses] == [1.0, 1.0]
    assert content["judge"]["ceiling"]["adherence"] > 0.9


def test_equal_runs_give_equal_numbers(trained):
    small = SMALL | {"cfg": (7.5,), "models": ("kaleido",), "seeds": (0,), "captions": CAPTIONS}
    first = evaluate(trained, name="a", **small)
    second = evaluate(trained, name="b", **small)
    assert json.dumps(first.rows) == json.dumps(second.rows)


def test_settings_and_held_out_captions_serve_where_nothing_is_given(trained, write_data):
    write_data(list(make_records(60, seed=3, size=16)), 60)
    changes = {
        "evaluate.captions": 2,
        "evaluate.n": 2,
        "evaluate.steps": 1,
        "evaluate.cfg": (1.0,),
        "evaluate.seeds": (5,),
    }
    small = replace(trained, settings=override(trained.settings, changes))
    summary = evaluate(small, models=("kaleido",))
    plan = json.loads(summary.json.read_text("utf-8"))["plan"]
    assert len(plan["captions"]) == 2 and plan["n"] == 2 and plan["seeds"] == [5]
    assert summary.report.parent == trained.reports("evaluation")
    assert "missing: baseline" in summary.void


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"captions": ["a dog"]}, "a dog"),
        ({"captions": ["a star", "a star"]}, "occurs twice"),
        ({"captions": CAPTIONS, "n": 1}, "two samples"),
        ({"captions": CAPTIONS, "seeds": (1, 1)}, "occurs twice"),
        ({"captions": CAPTIONS, "models": ("other",)}, "no such model"),
    ],
)
def test_wrong_use_is_named_before_any_work(trained, options, named):
    with pytest.raises(KaleidoError, match=named):
        evaluate(trained, **(SMALL | options))
    assert not trained.reports("evaluation").exists()


def test_without_captions_or_data_it_says_what_to_do(trained):
    with pytest.raises(InputMissing, match="held-out"):
        evaluate(trained, **SMALL)

"""What looks at pictures sees the same on a GPU as on a CPU."""

from __future__ import annotations

from dataclasses import astuple, replace

import numpy as np
import pytest

from pipelines.embedded.paths import embedded_path
from pipelines.evaluate.adherence.tokens import Retokenizer
from pipelines.evaluate.networks import PretrainedFeatures
from pipelines.evaluate.run import EvaluateSummary, evaluate
from pipelines.latents.sequence import z_to_text
from pipelines.models.tokenizer import Tokenizer
from pipelines.scenes.judge import Judge
from pipelines.scenes.reference import reference_images
from pipelines.workspace.config import override

pytestmark = pytest.mark.gpu


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    """Thirty-two scenes of 64 pixels."""
    return reference_images("a star and two circles", 32, 0, "reference")


def test_the_judge(images, no_gpu) -> None:
    judge = Judge.load(embedded_path("judge"))
    assert judge.network.heads.weight.device.type == "cuda"
    features, verdicts = judge.inspect(images)
    with no_gpu():
        expected, seen = Judge.load(embedded_path("judge")).inspect(images)
    np.testing.assert_allclose(features, expected, atol=1e-4)
    np.testing.assert_allclose(judge.features(images), expected, atol=1e-4)
    for one, other in zip(verdicts, seen, strict=True):
        assert one.background == other.background
        for found, wanted in zip(one.objects, other.objects, strict=True):
            assert astuple(found)[:3] == astuple(wanted)[:3]
            assert np.abs(np.subtract(found.box, wanted.box)).max() <= 1
            assert found.score == pytest.approx(wanted.score, abs=1e-4)


def test_the_tokenizer_that_reads_drawn_pictures(images, no_gpu) -> None:
    def look() -> np.ndarray:
        retokenizer = Retokenizer(Tokenizer.load(embedded_path("tokenizer")))
        texts = [z_to_text({"tokens": retokenizer.tokens(image)}) for image in images[:4]]
        return retokenizer.read(images[:4], texts)

    on_gpu = look()
    with no_gpu():
        on_cpu = look()
    assert (on_gpu == on_cpu).mean() > 0.995


def test_features_of_networks_by_name(images, dinov2, no_gpu) -> None:
    found = PretrainedFeatures(str(dinov2))(images)
    with no_gpu():
        expected = PretrainedFeatures(str(dinov2))(images)
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_an_evaluation_of_the_embedded_models(workspace, no_gpu) -> None:
    settings = {"captions": 2, "n": 6, "steps": 4, "cfg": (7.5,), "seeds": (0,), "training": 64}
    changes = {f"evaluate.{name}": value for name, value in settings.items()}
    workspace = replace(workspace, settings=override(workspace.settings, changes))
    on_gpu = _values(evaluate(workspace, "gpu", embedded=True))
    with no_gpu():
        on_cpu = _values(evaluate(workspace, "cpu", embedded=True))
    assert on_gpu.keys() == on_cpu.keys()
    for name in ("z.perplexity", "z.parses", "z.agrees"):
        assert on_gpu["kaleido", name] == pytest.approx(on_cpu["kaleido", name], rel=1e-4)
    for model in ("baseline", "kaleido"):
        assert on_gpu[model, "frechet"] == pytest.approx(on_cpu[model, "frechet"], rel=0.05)


def _values(summary: EvaluateSummary) -> dict[tuple[str, str], float]:
    return {(row["model"], row["metric"].partition("[")[0]): row["value"] for row in summary.rows}

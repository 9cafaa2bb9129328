import sys
from pathlib import Path
from types import ModuleType

import pytest

from pipelines.core.errors import KaleidoError
from pipelines.evaluate.report.track import track
from tests.evaluate.test_run import CAPTIONS, evaluate, small

NAN = float("nan")
ROWS = [
    {"model": "data", "cfg": None, "metric": "recall[x@0]", "value": 0.9},
    {"model": "baseline", "cfg": 1.0, "metric": "recall[x@0]", "value": 0.7},
    {"model": "kaleido", "cfg": 1.0, "metric": "recall[x@0]", "value": 0.8},
    {"model": "kaleido", "cfg": 7.5, "metric": "recall[x@0]", "value": 0.6},
    {"model": "kaleido", "cfg": 7.5, "metric": "z.parses", "value": 1.0},
    {"model": "kaleido", "cfg": 7.5, "metric": "vendi[x@0, valid]", "value": NAN},
]


def test_tensorboard_reads_back_each_models_curve(tmp_path):
    pytest.importorskip("tensorboard", reason="the extra track is not installed")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    for _ in range(2):  # a second report takes the place of the first
        track("tensorboard", ROWS, tmp_path, "first")
    found = {}
    for run in filter(Path.is_dir, sorted((tmp_path / "tensorboard").iterdir())):
        events = EventAccumulator(str(run)).Reload()
        found[run.name] = {
            tag: [(event.step, round(event.value, 6)) for event in events.Scalars(tag)]
            for tag in events.Tags()["scalars"]
        }
    assert found == {
        "baseline": {"recall[x@0]": [(100, 0.7)]},
        "data": {"recall[x@0]": [(0, 0.9)]},
        "kaleido": {"recall[x@0]": [(100, 0.8), (750, 0.6)], "z.parses": [(750, 1.0)]},
    }


def test_trackio_is_given_a_run_a_model(tmp_path, monkeypatch, capsys):
    # A stand-in with the three functions that are called; what it says must not stand in --json.
    calls = []
    stand_in = ModuleType("trackio")
    stand_in.init = lambda **options: calls.append(options)
    stand_in.log = lambda values, step: calls.append((step, values))
    stand_in.finish = lambda: (calls.append("finish"), print("finished"))
    monkeypatch.setitem(sys.modules, "trackio", stand_in)
    track("trackio", ROWS, tmp_path, "first")
    assert calls[-4:] == [
        {"project": "first", "name": "kaleido", "auto_log_cpu": False, "auto_log_gpu": False},
        (100, {"recall[x@0]": 0.8}),
        (750, {"recall[x@0]": 0.6, "z.parses": 1.0}),
        "finish",
    ]
    assert sum(call == "finish" for call in calls) == 3
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("tracker", "named"),
    [("tensorbord", "'tensorboard'"), ("tensorboard", "kaleido-diffusion[track]")],
)
def test_a_tracker_that_is_not_there_is_named_before_any_work(trained, tracker, named, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    with pytest.raises(KaleidoError) as caught:
        evaluate(small(trained), captions=CAPTIONS, tracker=tracker)
    assert named in caught.value.hint
    assert not trained.logs.exists()

import numpy as np
import pytest
import torch

from pipelines.embedded.paths import embedded_path
from pipelines.models.pixels import to_square_tensor
from pipelines.scenes.judge import Judge
from recipes import train_judge
from recipes.examples_judge import Truth, draw_example, spoil, targets
from recipes.measure_judge import measure
from recipes.train_judge import JudgeTask, learn, loss_of, main


def shipped() -> Judge:
    return Judge.load(embedded_path("judge"))


def test_targets_peak_at_each_objects_centre_and_measure_its_box():
    box = (0.25, 0.5, 0.5, 0.875)
    truth = Truth((("heart", "teal", "striped", box),), "fog")
    maps = targets([truth])
    assert (maps["heat"] == 1.0).sum() == 1
    _, shape, y, x = (int(i) for i in (maps["heat"] == 1.0).nonzero()[0])
    assert shape == 5
    left, top, right, bottom = maps["box"][0, :, y, x].tolist()
    centre = np.array([x + 0.5, y + 0.5]) * 4
    assert centre[0] - left == pytest.approx(16) and centre[0] + right == pytest.approx(32)
    assert centre[1] - top == pytest.approx(32) and centre[1] + bottom == pytest.approx(56)
    assert maps["colour"][0, y, x] == 4 and maps["texture"][0, y, x] == 1
    assert maps["background"].tolist() == [2]
    assert maps["weight"][0, y, x] == 1.0 and maps["weight"][0, 0, 0] == 0.0


def test_the_right_answer_has_almost_no_loss():
    truths = [draw_example(0, "test", index)[1] for index in range(8)]
    maps = targets(truths)
    sure = 40.0
    answer = {
        "heat": torch.where(maps["heat"] == 1.0, sure, -sure),
        "box": maps["box"].clamp_min(0.5),
        "colour": torch.nn.functional.one_hot(maps["colour"], 8).permute(0, 3, 1, 2) * sure,
        "texture": torch.nn.functional.one_hot(maps["texture"], 2).permute(0, 3, 1, 2) * sure,
        "background": torch.nn.functional.one_hot(maps["background"], 4) * sure,
    }
    assert loss_of(answer, maps).item() == pytest.approx(0.0, abs=1e-4)
    wrong = answer | {"colour": answer["colour"].flip(1)}
    assert loss_of(wrong, maps).item() > 1.0


def test_examples_follow_from_their_number_and_purposes_differ():
    first, truth = draw_example(0, "judge", 5)
    again, same = draw_example(0, "judge", 5)
    np.testing.assert_array_equal(first, again)
    assert truth == same
    assert (draw_example(0, "judge-heldout", 5)[0] != first).any()


def test_spoiled_pictures_stay_pictures():
    x = to_square_tensor(np.stack([draw_example(0, "test", i)[0] for i in range(16)]), 64)
    spoiled = spoil(x, np.random.default_rng(0))
    assert spoiled.shape == x.shape and spoiled.abs().max() <= 1.0
    assert 0.0 < (spoiled - x).abs().mean() < 0.15
    np.testing.assert_array_equal(spoiled, spoil(x, np.random.default_rng(0)))


def test_batches_depend_on_the_position_alone():
    task = JudgeTask(seed=0)
    (one, truth), (two, same) = task.batch(64, 4), task.batch(64, 4)
    assert torch.equal(one, two)
    assert all(torch.equal(truth[name], same[name]) for name in truth)
    assert not torch.equal(task.batch(96, 4)[0], one)


def test_a_stopped_training_goes_on_to_the_same_weights(tmp_path, monkeypatch):
    monkeypatch.setattr(train_judge, "BATCH", 4)
    monkeypatch.setattr("pipelines.train.loop.CHECKPOINT_SECONDS", 0.0)
    whole = learn(tmp_path / "whole", images=16, seed=0)

    def stop_at_three(seed, purpose, index, plain=False):
        if index == 3 * 4:
            raise KeyboardInterrupt
        return draw_example(seed, purpose, index, plain)

    with monkeypatch.context() as patch:
        patch.setattr(train_judge, "draw_example", stop_at_three)
        with pytest.raises(KeyboardInterrupt):
            learn(tmp_path / "stopped", images=16, seed=0)
    resumed = learn(tmp_path / "stopped", images=16, seed=0)
    for name, value in whole.state_dict().items():
        assert torch.equal(resumed.state_dict()[name], value), name


def test_the_recipe_writes_a_judge_with_centred_features_of_unit_variance(
    tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(train_judge, "FEATURE_IMAGES", 100)
    monkeypatch.setattr(train_judge, "HELD_OUT", 8)
    monkeypatch.setattr(train_judge, "BATCH", 8)
    out = tmp_path / "judge"
    assert main(["--out", str(out), "--images", "16"]) == 0
    judge = Judge.load(out)
    assert {path.name for path in tmp_path.iterdir()} == {out.name, "log.jsonl"}  # no checkpoint
    assert judge.name in capsys.readouterr().out
    assert sorted(file.name for file in out.iterdir()) == [
        *("README.md", "config.json", "model.safetensors"),
    ]
    assert set(judge.config.ceiling) >= {"box", "adherence", "count"}
    renders = np.stack([draw_example(0, "judge-features", i, True)[0] for i in range(100)])
    features = judge.features(renders)
    np.testing.assert_allclose(features.mean(0), 0.0, atol=5e-3)
    assert features.var(0, ddof=1).sum() == pytest.approx(1.0, rel=0.01)
    assert features.var(0)[0] > features.var(0)[-1]


def test_the_shipped_judge_keeps_its_recorded_ceiling():
    judge = shipped()
    got = measure(judge, seed=1, images=200)
    for name, value in judge.config.ceiling.items():
        assert got[name] == pytest.approx(value, abs=0.03), name

"""The recipe of the tuned prior, in miniature."""

import torch

from pipelines.core.progress import SILENT
from pipelines.models.prior import Prior
from recipes.tune_prior import SETTINGS, average, soundness_of, start_folder, tune


def test_the_encoder_is_tuned_and_averaged_with_its_start(tmp_path):
    start = Prior.load(start_folder())
    small = {"prior.pretrained": str(start_folder()), "prior.steps": 2, "prior.warmup": 1}
    settings = {**SETTINGS, **small, "prior.batch_size": 4}
    workspace = tune(tmp_path / "tuned", 60, settings, 1, SILENT)
    tuned = Prior.load(workspace.models("prior"))
    assert tuned.tokenizer.get_vocab() == start.tokenizer.get_vocab()
    own = {name: value.clone() for name, value in start.model.state_dict().items()}
    average(start, tuned, 0.75)
    theirs = tuned.model.state_dict()
    changed = set()
    for name, value in start.model.state_dict().items():
        torch.testing.assert_close(value, 0.75 * own[name] + 0.25 * theirs[name])
        changed |= {name} if not torch.equal(own[name], value) else set()
    assert len(changed) > 10
    assert not any(name.startswith("decoder.block") for name in changed)
    learned = soundness_of(workspace)
    assert learned.places == learned.colours == 1.0

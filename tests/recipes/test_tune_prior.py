"""The trial of a tuned prior, in miniature."""

import torch

from pipelines.core.progress import SILENT
from pipelines.embedded.paths import embedded_path
from pipelines.models.prior import Prior
from recipes.tune_prior import SETTINGS, average, keep_decoder, known_tokens, tune


def test_a_tuned_prior_is_averaged_with_its_start(tmp_path):
    start = Prior.load(embedded_path("prior"))
    small = {"prior.pretrained": str(embedded_path("prior")), "prior.steps": 2, "prior.warmup": 1}
    settings = {**SETTINGS, **small, "prior.batch_size": 4}
    workspace = tune(tmp_path / "tuned", 16, settings, 1, SILENT)
    tuned = Prior.load(workspace.models("prior"))
    assert tuned.z_kinds == start.z_kinds and tuned.codebook == start.codebook
    assert tuned.tokenizer.get_vocab() == start.tokenizer.get_vocab()
    own = {name: value.clone() for name, value in tuned.model.state_dict().items()}
    average(tuned, start, 0.25)
    theirs = start.model.state_dict()
    changed = 0
    for name, value in tuned.model.state_dict().items():
        torch.testing.assert_close(value, 0.25 * own[name] + 0.75 * theirs[name])
        changed += not torch.equal(own[name], theirs[name])
    assert changed > 10

    keep_decoder(tuned, start, known := known_tokens(workspace, start))
    kept = tuned.model.state_dict()
    decoder = {name for name in kept if name.startswith("decoder.block")}
    assert decoder and all(torch.equal(kept[name], theirs[name]) for name in decoder)
    rows = (kept["shared.weight"] != theirs["shared.weight"]).any(1).nonzero().flatten().tolist()
    assert not set(rows) & set(known) and start.tokenizer("circle <5>").input_ids[1] in known
    assert not torch.equal(
        kept["encoder.block.0.layer.0.SelfAttention.q.weight"],
        theirs["encoder.block.0.layer.0.SelfAttention.q.weight"],
    )

"""How evaluation asks the models to draw."""

from dataclasses import asdict

from pipelines.evaluate.sweep import Plan
from pipelines.sample.candidates import Checks
from pipelines.sample.choice import Decoding
from pipelines.workspace.settings import SampleSettings

OTHER = SampleSettings(
    temperature=0.5,
    top_k=7,
    z_candidates=3,
    z_overlap=0.25,
    z_colours="off",
    z_places="off",
    z_surprise=2.0,
    z_noise=0.3,
    cfg_begin=0.9,
    cfg_end=0.1,
    cfg=2.0,
    n=5,
    steps=4,
)


def test_evaluation_draws_z_by_all_settings_of_the_workspace():
    plan = Plan(
        captions=("a star",),
        n=OTHER.n,
        cfg=(OTHER.cfg,),
        steps=OTHER.steps,
        seeds=(0,),
        decoding=Decoding.of(OTHER),
        checks=Checks.of(OTHER),
        cfg_begin=OTHER.cfg_begin,
        cfg_end=OTHER.cfg_end,
        z_noise=OTHER.z_noise,
        training=0,
    )
    found, usual = asdict(plan.options("kaleido", OTHER.cfg)), asdict(SampleSettings())
    changed = {name: value for name, value in asdict(OTHER).items() if value != usual[name]}
    assert {name: found[name] for name in changed} == changed
    of_z = {name for name in usual if name.startswith("z_")}
    assert of_z - {"z_seed"} <= changed.keys()  # a new setting of z belongs into this test

"""Machines that share a workspace each compute a part; together they write one run's bytes."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from colour_stage import MeanColour, run_stage

import pipelines
from pipelines.core.errors import KaleidoError
from pipelines.scenes.generate import make_records
from pipelines.workspace.parts import Part
from pipelines.workspace.workspace import Workspace

ROOT = Path(pipelines.__file__).parents[1]


def latent_files(workspace: Workspace) -> dict[str, bytes]:
    return {
        f"{path.parent.name}/{path.name}": path.read_bytes()
        for path in (workspace.root / "latents").rglob("0*")
    }


def start(workspace: Workspace, part: str) -> subprocess.Popen[str]:
    command = ["extract", "all", "--part", part, "--workspace", str(workspace.root)]
    return subprocess.Popen(
        [sys.executable, "-m", "kaleido_cli", *command],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stderr=subprocess.PIPE,
        text=True,
    )


def test_two_processes_at_once_write_the_bytes_of_one_run(workspace, write_data, invoke):
    write_data(list(make_records(10, seed=3)), 2)
    invoke("extract", "all", "--workspace", str(workspace.root))
    expected = latent_files(workspace)
    shutil.rmtree(workspace.root / "latents")
    running = [start(workspace, "1/2"), start(workspace, "2/2")]
    errors = [process.communicate(timeout=300)[1] for process in running]
    assert [process.returncode for process in running] == [0, 0], errors
    assert latent_files(workspace) == expected
    out = invoke("extract", "all", "--workspace", str(workspace.root)).out
    assert out.count("(5 were up to date)") == 3


def test_a_part_computes_and_counts_its_own_shards(workspace, write_data, records):
    write_data(records, 2)
    first = run_stage(workspace, MeanColour(), part=Part(2, 2))
    assert (first.shards, first.ok) == (2, 4)
    names = [path.name for path in sorted(workspace.latents("palette").glob("*.tar"))]
    assert names == ["000001.tar", "000003.tar"]
    assert run_stage(workspace, MeanColour(), part=Part(1, 2)).shards == 3
    assert run_stage(workspace, MeanColour()).skipped == 5


@pytest.mark.parametrize(
    ("held", "wanted", "free"),
    [
        (Part(1, 2), Part(2, 2), True),
        (Part(1, 2), Part(1, 2), False),
        (Part(1, 2), Part(2, 3), False),
        (Part(1, 2), Part(), False),
        (Part(), Part(1, 2), False),
    ],
)
def test_a_run_is_refused_while_another_may_write_the_same_shards(
    workspace, write_data, records, held, wanted, free
):
    write_data(records, 2)
    name = "" if held.is_whole else f"{held.number}-of-{held.count}"
    with workspace.lock("latents/palette", name), workspace.lock("latents/boxes"):
        if free:
            assert run_stage(workspace, MeanColour(), part=wanted).shards == 2
            return
        with pytest.raises(KaleidoError) as caught:
            run_stage(workspace, MeanColour(), part=wanted)
        assert caught.value.code == "locked"
    assert run_stage(workspace, MeanColour(), part=wanted).failed == 0


def test_a_part_leaves_unfinished_files_of_other_parts(workspace, write_data, records):
    write_data(records, 2)
    folder = workspace.latents("palette")
    folder.mkdir(parents=True)
    form = ".{}.kaleido-tmp-01234567-1-89abcdef"
    ours, theirs = folder / form.format("000000.tar"), folder / form.format("000001.tar")
    for path in (ours, theirs):
        path.touch()
    run_stage(workspace, MeanColour(), part=Part(1, 2))
    assert (ours.exists(), theirs.exists()) == (False, True)


def test_a_run_over_all_shards_ends_the_journals_of_killed_parts(workspace, write_data, records):
    write_data(records, 2)
    left = workspace.latents_journal("palette", "2-of-3")
    left.parent.mkdir(parents=True, exist_ok=True)
    left.write_text('["000001"]')
    run_stage(workspace, MeanColour(), part=Part(1, 3))
    assert left.is_file() and not workspace.latents_journal("palette", "1-of-3").exists()
    run_stage(workspace, MeanColour())
    assert not left.exists()


def test_a_part_without_shards_is_no_error(workspace, write_data, invoke):
    write_data(list(make_records(2, seed=3)), 2)
    out = invoke("extract", "palette", "--part", "2/3", "--workspace", str(workspace.root)).out
    assert "0 ok" in out
    refused = invoke(
        "extract", "palette", "--part", "4/3", "--workspace", str(workspace.root), code=1
    )
    assert "--part" in refused.err

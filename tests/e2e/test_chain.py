"""The whole chain through the real command line, with the shipped models and tiny trained ones."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from pipelines.core.images import decode_image

TINY = """
[prior]
d_model = 32
d_ff = 32
layers = 1
heads = 2
steps = 6
batch_size = 8
warmup = 1

[diffusion]
layers = 1
heads = 2
head_dim = 8
image_size = 16
pixel_channels = 8
steps = 6
batch_size = 8
warmup = 1

[evaluate]
captions = 2
n = 3
cfg = [1.0, 7.5]
steps = 2
seeds = [0]
"""


def kaleido(where: Path, *arguments: str, code: int = 0) -> dict:
    """Run the real program; return the object that --json prints."""
    done = subprocess.run(
        [sys.executable, "-m", "kaleido_cli", *arguments, "--json"],
        cwd=where,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == code, done.stderr
    return json.loads(done.stdout) if done.stdout else {"stderr": done.stderr}


@pytest.fixture(scope="module")
def chain(tmp_path_factory) -> Path:
    """A workspace in which every step has run."""
    where = tmp_path_factory.mktemp("chain")
    kaleido(where, "init", "ws")
    root = where / "ws"
    (root / "kaleido.toml").write_text(TINY, encoding="utf-8")
    kaleido(root, "data", "scenes", "--n", "60", "--seed", "1", "--shard-size", "30")
    kaleido(root, "extract", "all")
    kaleido(root, "train", "prior")
    kaleido(root, "train", "diffusion")
    kaleido(root, "train", "diffusion", "--baseline")
    return root


def test_status_accounts_for_every_record(chain) -> None:
    status = kaleido(chain, "status")
    assert status["data"]["ok"] == 60
    for kind in ("boxes", "blobs", "palette"):
        counts = status["latents"][kind]
        assert counts["ok"] + counts["filtered"] + counts["failed"] == 60
        assert counts["ok"] > 50


def test_sampling_with_the_workspace_models(chain) -> None:
    options = ("--n", "3", "--cfg", "7.5", "--steps", "2", "--seed", "7", "--name", "stars")
    summary = kaleido(chain, "sample", "two circles and a star", *options)
    folder = Path(summary["folder"])
    assert (summary["samples"], summary["source"]) == (3, "workspace")
    rows = [json.loads(line) for line in (folder / "samples.jsonl").read_text().splitlines()]
    assert [row["caption"] for row in rows] == ["two circles and a star"] * 3
    assert all(row["z"].startswith("<boxes>") for row in rows)
    for row in rows:
        assert decode_image((folder / row["file"]).read_bytes()).shape == (16, 16, 3)
    height, width, _ = decode_image(Path(summary["sheet"]).read_bytes()).shape
    assert width >= 2 * 128
    assert height >= 2 * 128


def test_a_name_that_is_taken_loses_nothing(chain) -> None:
    options = ("--n", "1", "--steps", "1", "--name", "once")
    kaleido(chain, "sample", "a star", *options)
    refused = kaleido(chain, "sample", "a circle", *options, code=1)
    assert "exists already" in refused["stderr"]


def test_captions_come_from_held_out_records_or_a_file(chain, tmp_path) -> None:
    assert kaleido(chain, "sample", "--n", "1", "--steps", "1")["captions"] > 1
    listed = tmp_path / "captions.txt"
    listed.write_text("a star\n\ntwo hearts\n", encoding="utf-8")
    named = ("--captions", str(listed), "--n", "1", "--steps", "1", "--name", "file")
    assert kaleido(chain, "sample", *named)["captions"] == 2


def test_evaluation_writes_a_report(chain) -> None:
    summary = kaleido(chain, "evaluate")
    page = Path(summary["report"]).read_text(encoding="utf-8")
    rows = json.loads(Path(summary["json"]).read_text(encoding="utf-8"))["rows"]
    assert "<html" in page
    assert {row["model"] for row in rows} >= {"baseline", "kaleido"}
    assert {row["cfg"] for row in rows} >= {1.0, 7.5}


def test_a_second_run_of_everything_does_nothing_again(chain) -> None:
    for summary in kaleido(chain, "extract", "all").values():
        assert summary["skipped"] == summary["shards"]
    assert kaleido(chain, "train", "prior")["resumed_at"] == 6

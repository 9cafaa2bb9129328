"""Someone with pictures of their own never meets the toy world."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
from PIL import Image

COMMANDS = (
    ("data", "folder", "../pictures", "--set", "data.image_size=16"),
    ("extract", "palette"),
    ("train", "prior"),
    ("train", "diffusion"),
    ("train", "diffusion", "--baseline"),
    ("sample", "a red thing", "--n", "1"),
    ("evaluate", "--features", "../dinov2"),
)
"""What a user types, from a folder of pictures to a report."""

SETTINGS = """
prior.d_model = 16
prior.d_ff = 16
prior.layers = 1
prior.heads = 2
prior.steps = 1
prior.batch_size = 4
diffusion.image_size = 16
diffusion.patch_size = 4
diffusion.layers = 1
diffusion.heads = 2
diffusion.head_dim = 8
diffusion.steps = 1
diffusion.batch_size = 4
sample.steps = 1
evaluate.captions = 5
evaluate.n = 2
evaluate.steps = 1
evaluate.seeds = [0]
evaluate.cfg = [1.0]
"""

PROGRAM = """
import json, sys
from kaleido_cli.__main__ import main

toy = {}
for command in json.loads(sys.argv[1]):
    sys.argv = ["kaleido", *command]
    try:
        main()
    except SystemExit as end:
        assert not end.code, (command, end.code)
    toy[" ".join(command)] = sorted(m for m in sys.modules if m.startswith("pipelines.scenes"))
print("FOUND", json.dumps(toy))
"""


def test_own_pictures_go_all_the_way_without_the_toy_world(tmp_path, workspace, dinov2):
    folder = tmp_path / "pictures"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for index in range(120):
        pixels = rng.integers(0, 255, (16, 16, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{index}.png")
        (folder / f"{index}.txt").write_text(f"a red thing, number {index}")
    commands = [
        [{"../pictures": str(folder), "../dinov2": str(dinov2)}.get(word, word) for word in command]
        for command in COMMANDS
    ]
    (workspace.root / "kaleido.toml").write_text(SETTINGS)
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, json.dumps(commands)],
        cwd=workspace.root,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.partition("FOUND ")[2])
    assert len(found) == len(COMMANDS)
    assert {command: names for command, names in found.items() if names} == {}

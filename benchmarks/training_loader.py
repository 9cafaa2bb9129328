"""Batches of a denoiser's training beside decoding alone: JPEGs of 512 pixels, in CPU seconds.

A model that computes nothing would train as fast as its pictures are decoded and stacked. Our
batches also read shards by offset, check each picture, crop it, move z along and tokenize.
"""

from __future__ import annotations

import io
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from _paired import in_turns, show
from PIL import Image

from pipelines.core.progress import SILENT
from pipelines.data.folder import write_folder
from pipelines.embedded.paths import embedded_path
from pipelines.extract.run import extract
from pipelines.models.pixels import to_tensor
from pipelines.models.prior import Prior
from pipelines.train.diffusion import DiffusionTask, fresh_model
from pipelines.train.pictures import open_stream
from pipelines.workspace.workspace import Workspace

ROUNDS, PICTURES, SIDE = 7, 32, 512


def main() -> None:
    """Time batches and plain decoding in turns."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        files = _photographs(Path(folder) / "pictures")
        workspace = Workspace.init(Path(folder) / "workspace")
        write_folder(workspace, files[0].parent)
        extract(workspace, ("palette",))
        settings = replace(
            workspace.settings.diffusion,
            image_size=SIDE,
            patch_size=32,
            batch_size=PICTURES,
            z_kinds=("palette",),
        )
        prior = Prior.load(embedded_path("prior"))
        stream = open_stream(workspace, settings, None, SILENT)
        model = fresh_model(settings, stream, prior, ("palette",), None)
        task = DiffusionTask(model, prior, stream, 0.1, 1, 0.1, 0)
        count = stream.size
        data = [path.read_bytes() for path in files[:count]]
        works = {"decoding alone": lambda: _decode(data), "batches": lambda: task.batch(0, count)}
        show(in_turns(works, ROUNDS, time.process_time), "decoding alone", "pictures", count)


def _decode(data: list[bytes]) -> torch.Tensor:
    pictures = [np.asarray(Image.open(io.BytesIO(each)).convert("RGB")) for each in data]
    return to_tensor(np.stack(pictures))


def _photographs(folder: Path) -> list[Path]:
    """Write pictures with the detail of photographs: noise whose spectrum falls with frequency."""
    folder.mkdir()
    rng, files = np.random.default_rng(0), []
    wave = np.hypot(*np.meshgrid(np.fft.fftfreq(SIDE), np.fft.fftfreq(SIDE)))
    for number in range(PICTURES):
        noise = np.fft.fft2(rng.normal(size=(3, SIDE, SIDE))) / (wave + 1 / SIDE)
        pixels = np.fft.ifft2(noise).real.transpose(1, 2, 0)
        pixels = 128 + 48 * (pixels - pixels.mean()) / pixels.std()
        file = folder / f"{number:03}.jpg"
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(file, quality=90)
        file.with_suffix(".txt").write_text("a cloudy sky over a field")
        files.append(file)
    return files


if __name__ == "__main__":
    main()

"""A training step beside the loop of diffusers' text_to_image example, in CPU seconds.

U-Net, batch, precision, optimizer and loss are equal. The example encodes picture and caption in
every step; ours reads what `kaleido extract image-latents` and `caption-states` encoded once. The
second ratio leaves the encoders out: it compares the loops alone.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

import torch
from accelerate import Accelerator
from diffusers import AutoencoderKL, DDPMScheduler, UNet2DConditionModel
from diffusers.optimization import get_scheduler
from diffusers.training_utils import EMAModel
from torch.nn.functional import mse_loss
from transformers import CLIPTextConfig, CLIPTextModel

from pipelines.core.progress import Advance, Progress
from pipelines.train.loop import train
from pipelines.train.noise import Noise
from pipelines.train.options import TrainOptions
from pipelines.train.task import Task

ROUNDS, STEPS = 5, 3

BATCH, SIDE, TOKENS, WIDTH = 4, 128, 32, 64
"""Pictures of a step, their sides, and tokens of a caption and their width."""

NOISES = DDPMScheduler(num_train_timesteps=1000, beta_schedule="scaled_linear")


def main() -> None:
    """Time both loops in turns."""
    torch.set_num_threads(1)
    example, ours = Example(build_unet()), Ours(build_unet())
    seconds: dict[str, list[float]] = {"example": [], "encoders": [], "ours": []}
    for turn in range(ROUNDS + 1):
        for name, found in (
            ("example", clocked(example.step)),
            ("encoders", clocked(example.encode)),
            ("ours", ours.steps()),
        ):
            if turn:
                seconds[name].append(found)
    for name, values in seconds.items():
        print(f"{name:9} s a step: {' '.join(f'{value:.3f}' for value in values)}")
    rows = list(zip(*seconds.values(), strict=True))
    print(f"ours beside the example: {median(e / o for e, _, o in rows):.2f} x")
    print(f"without its encoders:    {median((e - c) / o for e, c, o in rows):.2f} x")


def build_unet() -> Any:
    """A U-Net of Stable Diffusion's form with a quarter of its channels."""
    torch.manual_seed(0)
    return UNet2DConditionModel(
        sample_size=SIDE // 8,
        block_out_channels=(80, 160, 320, 320),
        attention_head_dim=8,
        cross_attention_dim=WIDTH,
        norm_num_groups=16,
    )


def clocked(work: Any) -> float:
    """Return the CPU seconds of a call, the mean of `STEPS`."""
    start = time.process_time()
    for _ in range(STEPS):
        work()
    return (time.process_time() - start) / STEPS


class Example:
    """The example's loop, of stock classes, with encoders of a quarter of the usual channels."""

    def __init__(self, unet: Any) -> None:
        self._accelerator = Accelerator(cpu=True)
        self._vae = AutoencoderKL(
            block_out_channels=(32, 64, 128, 128),
            down_block_types=("DownEncoderBlock2D",) * 4,
            up_block_types=("UpDecoderBlock2D",) * 4,
            layers_per_block=2,
        ).requires_grad_(False)
        sizes = CLIPTextConfig(
            hidden_size=WIDTH, intermediate_size=4 * WIDTH, num_attention_heads=4
        )
        self._text = CLIPTextModel(sizes).requires_grad_(False)
        optimizer = torch.optim.AdamW(unet.parameters(), 1e-4, betas=(0.9, 0.99))
        self._average = EMAModel(unet.parameters())
        rates = get_scheduler("constant_with_warmup", optimizer, num_warmup_steps=10)
        self._unet, self._optimizer, self._rates = self._accelerator.prepare(unet, optimizer, rates)
        self._pixels = torch.rand(BATCH, 3, SIDE, SIDE) * 2 - 1
        self._ids = torch.randint(0, 1000, (BATCH, TOKENS))

    def encode(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Encode a batch's pictures and captions."""
        latents = self._vae.encode(self._pixels).latent_dist.sample()
        return latents * self._vae.config.scaling_factor, self._text(self._ids)[0]

    def step(self) -> None:
        """Take a step."""
        with self._accelerator.accumulate(self._unet):
            latents, states = self.encode()
            noise, at = torch.randn_like(latents), torch.randint(0, 1000, (BATCH,))
            noisy = NOISES.add_noise(latents, noise, at)
            predicted = self._unet(noisy, at, states, return_dict=False)[0]
            loss = mse_loss(predicted, noise)
            self._accelerator.gather(loss.repeat(BATCH)).mean().item()
            self._accelerator.backward(loss)
            self._accelerator.clip_grad_norm_(self._unet.parameters(), 1.0)
            self._optimizer.step()
            self._rates.step()
            self._optimizer.zero_grad()
            self._average.step(self._unet.parameters())


class Ours(Task):
    """The same U-Net and loss in our loop."""

    def __init__(self, unet: Any) -> None:
        self.model = unet
        self._latents = torch.randn(BATCH, 4, SIDE // 8, SIDE // 8).half().numpy()
        self._states = torch.randn(BATCH, TOKENS, WIDTH).numpy()

    def batch(self, start: int, count: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Return what stages have encoded."""
        return torch.from_numpy(self._latents).float(), torch.from_numpy(self._states.copy())

    def loss(self, batch: tuple[torch.Tensor, torch.Tensor], noise: Noise) -> torch.Tensor:
        """Compute the example's loss."""
        latents, states = batch
        drawn, at = noise.normal(*latents.shape[1:]), (1000 * noise.uniform()).long()
        noisy = NOISES.add_noise(latents, drawn, at)
        return mse_loss(self.model(noisy, at, states, return_dict=False)[0], drawn)

    def steps(self) -> float:
        """Train; return the CPU seconds of a step, without the first one and the checkpoint."""
        with tempfile.TemporaryDirectory() as folder:
            options = TrainOptions(STEPS + 1, BATCH, 1e-4, warmup=10, seed=0)
            clock = Clock()
            train(self, options, Path(folder) / "checkpoint", {}, "unet", clock)
        return (clock.seconds[-1] - clock.seconds[0]) / STEPS


class Clock(Progress):
    """Notes the CPU time after each step."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    @contextmanager
    def task(
        self, description: str, total: int | None, unit: str = "it", done: int = 0
    ) -> Iterator[Advance]:
        """See `Progress.task`."""
        yield lambda n=1, note="": self.seconds.append(time.process_time())


if __name__ == "__main__":
    main()

"""Recipe of a small Stable Diffusion of scenes: ``python -m recipes.train_small_base``.

It is trained without z, as bases of others are: an AutoencoderKL, then a U-Net with its text
encoder by the loss of diffusers' own training. `docs/notes/2026-12-adapter.md` has what it can do.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from diffusers import (
    AutoencoderKL,
    DDPMScheduler,
    DPMSolverMultistepScheduler,
    StableDiffusionPipeline,
    UNet2DConditionModel,
)
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers
from torch import nn
from torch.nn.functional import mse_loss
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from pipelines.core.progress import LineProgress
from pipelines.core.seeds import derive, generator
from pipelines.scenes.factors import Scene
from pipelines.train.loop import train
from pipelines.train.noise import Noise
from pipelines.train.options import TrainOptions
from pipelines.train.task import Task
from recipes.recipe_options import RecipeOptions, recipe_options
from recipes.small_scenes import SIDE, pixels_of, training_scenes

SCENES = 4_000
"""Different scenes of the U-Net's training."""
UNCONDITIONAL = 0.1
KL_WEIGHT = 1e-5
AUTOENCODER_IMAGES = 28_800
DECODER_IMAGES = 14_400
"""Seen by the decoder alone, whose edges are learned late; the latents stay."""
BATCH = 16


class AutoencoderTask(Task):
    """The autoencoder's task for the training loop."""

    def __init__(self, scenes: Sequence[tuple[Scene, str]], seed: int) -> None:
        torch.manual_seed(derive(seed, "autoencoder"))
        self.model = AutoencoderKL(
            block_out_channels=(16, 32, 48),
            down_block_types=("DownEncoderBlock2D",) * 3,
            up_block_types=("UpDecoderBlock2D",) * 3,
            layers_per_block=1,
            latent_channels=8,
            norm_num_groups=8,
            sample_size=SIDE,
            mid_block_add_attention=False,
        ).to(memory_format=torch.channels_last)
        self._scenes = scenes

    def batch(self, start: int, count: int) -> torch.Tensor:
        """Draw scenes."""
        size = len(self._scenes)
        chosen = [self._scenes[at % size][0] for at in range(start, start + count)]
        return pixels_of(chosen).to(memory_format=torch.channels_last)

    def loss(self, batch: torch.Tensor, noise: Noise) -> torch.Tensor:
        """Errors of the picture, and a little of the divergence from the normal distribution."""
        found = self.model.encode(batch).latent_dist
        drawn = found.mean + found.std * noise.normal(*found.mean.shape[1:])
        error = self.model.decode(drawn).sample - batch
        return error.abs().mean() + error.square().mean() + KL_WEIGHT * found.kl().mean()


class UNetTask(Task):
    """The task of U-Net and text encoder: noise of the scheduler, mean squared error."""

    def __init__(
        self, latents: torch.Tensor, captions: Sequence[str], tokenizer: CLIPTokenizer, seed: int
    ) -> None:
        torch.manual_seed(derive(seed, "unet"))
        unet = UNet2DConditionModel(
            sample_size=latents.shape[-1],
            in_channels=latents.shape[1],
            out_channels=latents.shape[1],
            block_out_channels=(64, 96),
            layers_per_block=1,
            down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
            up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
            cross_attention_dim=64,
            attention_head_dim=4,
            norm_num_groups=16,
        )
        self.model = nn.ModuleDict({"unet": unet, "text": text_encoder(tokenizer)})
        self.model.to(memory_format=torch.channels_last)
        self._latents, self._seed = latents, seed
        self._ids = tokenize(tokenizer, [*captions, ""])
        self._scheduler = DDPMScheduler(**NOISE)

    def batch(self, start: int, count: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Return latents and token ids; each epoch has its own order."""
        size = len(self._latents)
        rows = [self._row(at // size, at % size) for at in range(start, start + count)]
        dropped = generator(self._seed, "drop", start).random(count) < UNCONDITIONAL
        texts = [-1 if gone else row for row, gone in zip(rows, dropped, strict=True)]
        return self._latents[rows], self._ids[texts]

    def _row(self, epoch: int, place: int) -> int:
        size = len(self._latents)
        turn = derive(self._seed, "epoch", epoch)
        step = 7919  # a prime that does not divide the number of scenes: every row comes once
        return (turn + place * step) % size

    def loss(self, batch: tuple[torch.Tensor, torch.Tensor], noise: Noise) -> torch.Tensor:
        """Compute the error of the velocity."""
        latents, ids = batch
        steps = self._scheduler.config.num_train_timesteps
        times = (noise.levels(1).flatten() * steps).long()
        drawn = noise.normal(*latents.shape[1:])
        noisy = self._scheduler.add_noise(latents, drawn, times)
        states = self.model["text"](ids)[0]
        predicted = self.model["unet"](noisy, times, states).sample
        return mse_loss(predicted, self._scheduler.get_velocity(latents, drawn, times))


NOISE: dict[str, Any] = {
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "prediction_type": "v_prediction",
}


def text_encoder(tokenizer: CLIPTokenizer) -> CLIPTextModel:
    """Make an untrained text encoder."""
    return CLIPTextModel(
        CLIPTextConfig(
            vocab_size=len(tokenizer),
            hidden_size=64,
            intermediate_size=128,
            num_hidden_layers=1,
            num_attention_heads=4,
            max_position_embeddings=tokenizer.model_max_length,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )


def learn_words(captions: Sequence[str]) -> CLIPTokenizer:
    """Learn a tokenizer of CLIP's kind from captions; letters serve for other words."""
    bpe = Tokenizer(models.BPE(end_of_word_suffix="</w>", unk_token="<|endoftext|>"))
    bpe.normalizer = normalizers.Lowercase()
    bpe.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Punctuation()]
    )
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(
        vocab_size=1500,
        initial_alphabet=letters,
        special_tokens=["<|startoftext|>", "<|endoftext|>"],
        end_of_word_suffix="</w>",
        show_progress=False,
    )
    bpe.train_from_iterator(captions, trainer)
    model = json.loads(bpe.to_str())["model"]
    vocabulary = dict(model["vocab"])
    for letter in letters:
        vocabulary.setdefault(f"{letter}</w>", len(vocabulary))
    merges = [tuple(pair) for pair in model["merges"]]
    return CLIPTokenizer(vocab=vocabulary, merges=merges, model_max_length=77)


def tokenize(tokenizer: CLIPTokenizer, texts: Sequence[str]) -> torch.Tensor:
    """Return token ids, padded as the pipeline pads them: (n, 77)."""
    found = tokenizer(
        list(texts),
        padding="max_length",
        max_length=tokenizer.model_max_length,
        truncation=True,
        return_tensors="pt",
    )
    ids: torch.Tensor = found.input_ids
    return ids


def learn_autoencoder(
    task: AutoencoderTask, options: RecipeOptions, part: str, images: int, rate: float
) -> AutoencoderKL:
    """Train what of an autoencoder is not frozen."""
    how = TrainOptions(
        steps=images // BATCH,
        batch_size=BATCH,
        learning_rate=rate,
        warmup=20,
        seed=options.seed,
        ema=0.99,
    )
    train(task, how, options.checkpoint / part, _kept(how), part, LineProgress())
    return task.model.cpu().eval()


@torch.no_grad()
def encode_all(vae: AutoencoderKL, scenes: Sequence[tuple[Scene, str]], file: Path) -> torch.Tensor:
    """Encode the scenes once, and set the autoencoder's scaling factor: latents of deviation 1."""
    if not file.is_file():
        parts = [
            vae.encode(pixels_of([scene for scene, _ in scenes[at : at + 64]])).latent_dist.mean
            for at in range(0, len(scenes), 64)
        ]
        file.parent.mkdir(parents=True, exist_ok=True)
        save_file({"latents": torch.cat(parts).contiguous()}, file)
    latents = load_file(file)["latents"]
    scale = 1.0 / float(latents.std())
    vae.register_to_config(scaling_factor=scale)
    return latents * scale


def learn_unet(task: UNetTask, options: RecipeOptions) -> None:
    """Train U-Net and text encoder."""
    how = TrainOptions(
        steps=options.images // BATCH,
        batch_size=BATCH,
        learning_rate=1e-3,
        warmup=200,
        seed=options.seed,
        cooldown=0.5,
        ema=0.999,
        weight_decay=0.01,
    )
    train(task, how, options.checkpoint / "unet", _kept(how), "unet", LineProgress())
    task.model.cpu().eval()


def _kept(how: TrainOptions) -> dict[str, Any]:
    return {key: value for key, value in asdict(how).items() if key not in ("steps", "cooldown")}


def main(arguments: Sequence[str] | None = None) -> int:
    """Train the base and save it as a pipeline."""
    options = recipe_options(arguments, "small-base", 83_200)
    torch.set_num_threads(options.threads)
    scenes = list(islice(training_scenes(options.seed), SCENES))
    tokenizer = learn_words([caption for _, caption in scenes])
    autoencoder = AutoencoderTask(scenes, options.seed)
    vae = learn_autoencoder(autoencoder, options, "autoencoder", AUTOENCODER_IMAGES, 3e-3)
    latents = encode_all(vae, scenes, options.checkpoint / "latents.safetensors")
    for encodes in (vae.encoder, vae.quant_conv):
        encodes.requires_grad_(False)
    learn_autoencoder(autoencoder, options, "decoder", DECODER_IMAGES, 1e-3)
    task = UNetTask(latents, [caption for _, caption in scenes], tokenizer, options.seed)
    learn_unet(task, options)
    StableDiffusionPipeline(
        vae=vae,
        text_encoder=task.model["text"],
        tokenizer=tokenizer,
        unet=task.model["unet"],
        scheduler=DPMSolverMultistepScheduler(**NOISE, steps_offset=1),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    ).save_pretrained(options.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())

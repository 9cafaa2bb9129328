"""Every setting of `kaleido.toml`: one frozen dataclass a section, with its default and its unit.

`RANGES` holds the bounds of numbers, `CHOICES` the words to choose from; `config.py` checks files
and flags against them.

A section's field is a key of the file and, where a command takes it, a flag of the same name.
Values that the paper does not give are ours and say so.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Range:
    """The values that a number may have: from `low` to `high`, `low` itself only if not `above`."""

    low: float = -math.inf
    high: float = math.inf
    above: bool = False

    def __contains__(self, value: float) -> bool:
        return self.low <= value <= self.high and not (self.above and value == self.low)

    def __str__(self) -> str:
        """Say the range so that it can follow "a number": ``from 0 to 1``."""
        if self.above:
            return f"above {self.low:g}" + (f", at most {self.high:g}" * math.isfinite(self.high))
        return f"from {self.low:g} " + (f"to {self.high:g}" if math.isfinite(self.high) else "up")


RANGES = {
    "image_size": Range(8, 4096),
    "boxes_confidence": Range(0, 1),
    "descriptions_temperature": Range(0),
    "boxes_max": Range(1, 15),  # more than 15 boxes or blobs are no valid latent
    "palette_colours": Range(1, 8),  # nor more than 8 colours
    "warmup": Range(0),
    "dropout": Range(0, 1),
    "dropout_steps": Range(0),
    "decoder_steps": Range(0),
    "drop_condition": Range(0, 1),
    "naming_weight": Range(0),
    "ema": Range(0, 1),
    "cfg": Range(0),
    "cfg_end": Range(0, 1),
    "top_p": Range(0, 1, above=True),
    "seed": Range(),
    "seeds": Range(),
    "training": Range(0),
}
"""What a setting of this name may be, in every section; any other number is above 0."""

POSITIVE = Range(0, above=True)

PRECISIONS = ("auto", "bf16", "fp32")

CHOICES = {"precision": PRECISIONS}
"""What a text of this name may be, in every section; any other text is free."""


@dataclass(frozen=True)
class DataSettings:
    """``[data]``: images and captions."""

    image_size: int = 64  # pixels; larger images are resized and centre-cropped by `data folder`
    shard_size: int = 1000  # records in a shard
    max_caption: int = 2000  # characters; longer captions fail with a reason
    seed: int = 0


@dataclass(frozen=True)
class ExtractSettings:
    """``[extract]``: the stages that compute latents."""

    workers: int = 1  # local processes
    disk_budget: str = ""  # most that latents/ may take, "50GB" say; empty: no limit
    boxes_model: str = ""  # a detector's folder or name on the hub; empty: the one for scenes
    boxes_find: tuple[str, ...] = ()  # what an open vocabulary looks for; empty: what captions name
    boxes_confidence: float = 0.25  # detections below this score are dropped
    boxes_max: int = 8  # the most confident ones are kept
    blobs_model: str = ""  # one with masks, or a SAM, asked with the boxes; empty: boxes_model
    blobs_masks: str = ""  # a folder of your own masks, KEY.png; then no model is asked
    palette_colours: int = 6
    tokens_model: str = ""  # a visual tokenizer's folder or hub name; empty: the workspace's own
    descriptions_model: str = ""  # a (vision-)language model's folder or name on the hub
    descriptions_prompt: str = ""  # a text file with the question; empty: 50 to 80 words
    descriptions_temperature: float = 0.0  # 0: the likeliest words; above: words drawn by key
    seed: int = 0  # of drawn descriptions


@dataclass(frozen=True)
class TokenizerSettings:
    """``[tokenizer]``: the visual tokenizer, a VQModel over patches of pixels."""

    patch_size: int = 4  # pixels; the side of what the network sees as one point
    channels: tuple[int, ...] = (32, 64)  # one block each; every further one halves the grid
    layers: int = 1  # residual layers a block; the decoder has one more
    codebook_size: int = 512
    code_dim: int = 8
    steps: int = 4000
    decoder_steps: int = 1000  # then the decoder learns alone, and ids stay as they are; 0: none
    batch_size: int = 32
    learning_rate: float = 2e-3
    warmup: int = 100
    precision: str = "auto"  # or bf16, fp32; auto is bf16 where the hardware has units for it
    seed: int = 0


@dataclass(frozen=True)
class PriorSettings:
    """``[prior]``: p(z|c), a T5 encoder-decoder."""

    pretrained: str = ""  # path or hub name of a T5; empty trains a tiny one from scratch
    z_kinds: tuple[str, ...] = ("boxes", "blobs", "palette")
    d_model: int = 128
    d_ff: int = 256
    layers: int = 4
    heads: int = 4
    dropout: float = 0.1  # so that new captions are understood
    dropout_steps: int = 1000  # steps with dropout, from the first; then it learns faster without
    structure_weight: float = 5.0  # in the loss, of labels, marks and ends beside numbers
    vocab_size: int = 2048
    max_caption_tokens: int = 64
    steps: int = 2000
    batch_size: int = 64
    learning_rate: float = 2e-3
    warmup: int = 100
    precision: str = "auto"  # or bf16, fp32; auto is bf16 where the hardware has units for it
    seed: int = 0


@dataclass(frozen=True)
class DiffusionSettings:
    """``[diffusion]``: p(x|z,c), a Sana-style transformer trained by flow matching."""

    pretrained: str = ""  # folder of a diffusion model of these sizes to go on from
    z_kinds: tuple[str, ...] = ("boxes", "blobs", "palette")
    image_size: int = 32  # pixels; the data's images are reduced to it, by a whole factor
    layers: int = 2
    heads: int = 4
    head_dim: int = 32
    patch_size: int = 4
    pixel_channels: int = 48  # of the convolutions around the transformer, a multiple of 8
    drop_condition: float = 0.1  # c and z are dropped together (the paper gives no value)
    steps: int = 2000
    batch_size: int = 16  # records a step
    noise_draws: int = 2  # noisy images made of each record; its c and z are read once for all
    naming_weight: float = 0.1  # of the words of z that patches learn to name; 0 leaves them out
    learning_rate: float = 1e-3
    warmup: int = 100
    precision: str = "auto"  # or bf16, fp32; auto is bf16 where the hardware has units for it
    ema: float = 0.999
    seed: int = 0


@dataclass(frozen=True)
class SampleSettings:
    """``[sample]``: drawing z, then x."""

    n: int = 16  # samples a caption
    cfg: float = 7.5  # guidance scale g; 1 is plain conditional
    cfg_end: float = 0.5  # noise level, from 0 to 1, below which nothing is guided; 0 guides all
    steps: int = 30
    temperature: float = 1.0  # of the prior
    top_p: float = 1.0  # of the prior
    batch_size: int = 16
    seed: int = 0


@dataclass(frozen=True)
class EvaluateSettings:
    """``[evaluate]``: comparing baseline and Kaleido."""

    features: str = ""  # a vision model of transformers, folder or name; "": the judge of scenes
    captions: int = 16  # with fewer than 2 there are no intervals
    n: int = 16  # samples a caption and seed, at least 2
    cfg: tuple[float, ...] = (1.0, 3.0, 7.5)
    steps: int = 30
    seeds: tuple[int, ...] = (0, 1, 2)
    training: int = 2048  # training pictures that are searched for copies; 0: all


@dataclass(frozen=True)
class Settings:
    """The whole file."""

    data: DataSettings = field(default_factory=DataSettings)
    extract: ExtractSettings = field(default_factory=ExtractSettings)
    tokenizer: TokenizerSettings = field(default_factory=TokenizerSettings)
    prior: PriorSettings = field(default_factory=PriorSettings)
    diffusion: DiffusionSettings = field(default_factory=DiffusionSettings)
    sample: SampleSettings = field(default_factory=SampleSettings)
    evaluate: EvaluateSettings = field(default_factory=EvaluateSettings)

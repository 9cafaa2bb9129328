"""Every setting of `kaleido.toml`: one frozen dataclass per section.

A field declares its default, help, range and choices in one place. The file with its comments, the
checks, the command-line flags, shell completion and the reference page all follow from it, so a new
setting is one line here:

    steps: int = setting(2000, "Training steps.")

Values that the paper does not give are ours.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, fields
from typing import Any, get_type_hints

ANY = -math.inf
"""``low=ANY`` allows every number."""


@dataclass(frozen=True)
class Range:
    """An interval of numbers: `low` to `high`, without `low` itself if `open` is set.

    With `or_zero`, 0 is allowed too, outside of the interval.
    """

    low: float = -math.inf
    high: float = math.inf
    open: bool = False
    or_zero: bool = False

    def __contains__(self, value: float) -> bool:
        inside = self.low <= value <= self.high and not (self.open and value == self.low)
        return inside or (self.or_zero and value == 0)

    def __str__(self) -> str:
        """Describe the range so that it can follow "a number": ``from 0 to 1``."""
        bounded = math.isfinite(self.high)
        if self.open:
            return f"above {self.low:g}" + (f", at most {self.high:g}" if bounded else "")
        range_ = f"from {self.low:g} " + (f"to {self.high:g}" if bounded else "up")
        return f"{range_}, or 0" if self.or_zero else range_


POSITIVE = Range(0, open=True)


@dataclass(frozen=True)
class Declared:
    """What a field declares beside its type and default.

    Attributes:
        help: One or two sentences, with the unit.
        within: The numbers allowed.
        choices: The words allowed; empty if any text is.
        alias: A second spelling of the flag: ``--size`` for ``--image-size``.
        is_path: A flag's value is a path, relative to the current folder.
    """

    help: str
    within: Range = POSITIVE
    choices: tuple[str, ...] = ()
    alias: str = ""
    is_path: bool = False


def setting(
    default: Any,
    help: str,
    *,
    low: float | None = None,
    above: float = 0.0,
    high: float = math.inf,
    or_zero: bool = False,
    choices: tuple[str, ...] = (),
    alias: str = "",
    is_path: bool = False,
) -> Any:
    """Declare a setting.

    Args:
        default: Its value where the file is silent.
        help: One or two sentences, with the unit.
        low: The smallest number allowed; without it, numbers must be larger than `above`.
        above: The bound that a number must exceed, unless `low` is given.
        high: The largest number allowed.
        or_zero: Whether 0 is allowed below `low`.
        choices: The words allowed.
        alias: A second spelling of the flag.
        is_path: A flag's value is a path, relative to the current folder.
    """
    within = Range(above, high, open=True) if low is None else Range(low, high, or_zero=or_zero)
    declared = Declared(help, within, choices, alias, is_path)
    return field(default=default, metadata={"declared": declared})


DRAWN_SIZE = 64
"""Side of scenes and emoji in pixels, where ``data.image_size`` is 0."""

RETIRED = ("extract.disk_budget",)
"""Settings of older versions that do nothing now; a file that still has them is read."""

PRECISIONS = ("auto", "bf16", "fp32")

_PRECISION = "Precision of the forward pass; auto takes bf16 where the hardware supports it."
_Z_KINDS = "Kinds of latents that make up z; empty: "


@dataclass(frozen=True)
class DataSettings:
    """Images and captions."""

    image_size: int = setting(
        0,
        "Side of the stored images, in pixels, to which `fit` resizes them; 0: images keep their "
        "size, and scenes and emoji are drawn with 64 pixels.",
        low=8,
        high=4096,
        or_zero=True,
        alias="--size",
    )
    fit: str = setting(
        "keep",
        "Images that are not square: keep the shape (a size only reduces the long side), pad to a "
        "square, or crop the centre.",
        choices=("keep", "pad", "crop"),
    )
    max_pixels: int = setting(
        2048 * 2048,
        "Most pixels of a stored image, width times height, where `image_size` is 0; larger ones "
        "are reduced.",
        low=64,
        high=64_000_000,
    )
    metadata: str = setting(
        "keep",
        "Pictures that are stored as they are keep their metadata, where they were taken (GPS) "
        "among it; strip removes it without touching the pixels.",
        choices=("keep", "strip"),
    )
    shard_size: int = setting(1000, "Records per shard.")
    max_caption: int = setting(2000, "Longest caption, in characters; longer ones fail.")
    seed: int = setting(0, "Seed of what is drawn at random.", low=ANY)


@dataclass(frozen=True)
class ExtractSettings:
    """Computing latents.

    The prefix of a name is the kind it belongs to; `kaleido extract KIND` takes its flags.
    """

    workers: int = setting(1, "Worker processes.")
    engine: str = setting(
        "local",
        "Where they run: on this machine, or on the nodes of a Ray cluster that share the "
        "workspace's folder.",
        choices=("local", "ray"),
    )
    address: str = setting(
        "",
        "Address of the Ray cluster; empty: that of RAY_ADDRESS, else one on this machine.",
    )
    source: str = setting(
        "pictures",
        "What latents are made from: the pictures, or layouts, which `kaleido data annotate` "
        "attaches.",
        choices=("pictures", "layouts"),
        alias="--from",
    )
    boxes_model: str = setting(
        "",
        "Detector: a folder, an ultralytics .pt file, a plug-in's name, a name on the Hugging Face "
        "hub, or scenes, the embedded one for simple shapes; empty: that one, for scenes only.",
    )
    boxes_find: tuple[str, ...] = setting(
        (),
        "What an open-vocabulary detector or a vision-language model searches for; empty: what "
        "each caption names.",
    )
    boxes_server: str = setting(
        "",
        "Address of a server with OpenAI's protocol that runs a vision-language model; the model "
        "is then named as the server names it.",
    )
    boxes_dialect: str = setting(
        "auto",
        "How a model on a server writes boxes; auto: told by its name.",
        choices=("auto", "qwen2.5-vl", "qwen3-vl", "gemini"),
    )
    boxes_confidence: float = setting(
        0.25, "Detections with a lower score are dropped.", low=0, high=1
    )
    # More than 15 boxes or blobs are not a valid latent, nor are more than 8 colours.
    boxes_max: int = setting(
        8, "Objects to keep per image, the most confident first.", low=1, high=15
    )
    blobs_model: str = setting(
        "",
        "Model with masks, or a SAM, which is prompted with the boxes: a folder, a .pt file, a "
        "name on the Hugging Face hub, or scenes; empty: the model of the boxes.",
    )
    blobs_masks: str = setting(
        "",
        "Folder of your own masks in place of a model: KEY.png, grey or indexed, whose values are "
        "instances.",
        is_path=True,
    )
    palette_colours: int = setting(6, "Colours per image.", low=1, high=8)
    tokens_model: str = setting(
        "",
        "Visual tokenizer: a folder or a name on the Hugging Face hub; empty: the one trained in "
        "the workspace.",
    )
    descriptions_model: str = setting(
        "",
        "Vision-language model, or a language model that sees the caption only: a folder, a GGUF "
        "file, a plug-in's name, or a name on the Hugging Face hub.",
    )
    descriptions_server: str = setting(
        "",
        "Address of a server with OpenAI's protocol that runs the model, such as "
        "http://localhost:8000/v1; the model is then named as the server names it.",
    )
    descriptions_send: str = setting(
        "pictures",
        "What a server is sent: pictures, with the caption where the prompt names it, or captions "
        "alone.",
        choices=("pictures", "captions"),
    )
    descriptions_answer: str = setting(
        "text",
        "How a server shall answer: with plain text, or with JSON of the z document, which is "
        "checked and asked for again where it is none.",
        choices=("text", "json"),
    )
    descriptions_prompt: str = setting(
        "",
        "Text file with the question, {caption} standing for the caption; empty: asks for 50 to "
        "80 words. For a server, lines of three hyphens divide it into questions that follow each "
        "other, and lines such as === 0.5 into prompts with weights.",
        is_path=True,
    )
    descriptions_count: int = setting(
        1,
        "Descriptions that a server draws of each picture, for each prompt; training draws one of "
        "them anew in each epoch.",
        low=1,
        high=100,
    )
    descriptions_temperature: float = setting(
        0.0, "Temperature of the words; 0 takes the likeliest ones.", low=0
    )
    seed: int = setting(0, "Seed of sampled descriptions.", low=ANY)


@dataclass(frozen=True)
class ServerSettings:
    """Servers of language models with OpenAI's protocol (vLLM, SGLang, Ollama, llama.cpp)."""

    key_variable: str = setting(
        "",
        "Environment variable that holds the server's key, such as MY_API_KEY; empty: no key. The "
        "key itself belongs into no file.",
    )
    concurrency: int = setting(8, "Requests under way at once.", low=1, high=256)
    connect_timeout: float = setting(10.0, "Longest wait for a connection, in seconds.")
    read_timeout: float = setting(120.0, "Longest silence of a server, in seconds.")
    total_timeout: float = setting(300.0, "Longest time of one request, in seconds.")
    retries: int = setting(
        6, "Repetitions of a request that broke off or met an error of the server.", low=0
    )
    patience: float = setting(
        900.0, "Longest wait of one question for a server that is busy, in seconds.", low=0
    )
    max_requests: int = setting(
        0, "Most requests of one run; 0: no limit. Answers in the cache cost none.", low=0
    )
    max_cost: float = setting(
        0.0, "Most that one run may cost, in the unit of the prices; 0: no limit.", low=0
    )
    price_in: float = setting(0.0, "Price of a million tokens of questions.", low=0)
    price_out: float = setting(0.0, "Price of a million tokens of answers.", low=0)


@dataclass(frozen=True)
class TokenizerSettings:
    """The visual tokenizer, an autoencoder of patches of pixels."""

    quantizer: str = setting(
        "vq",
        "Vector quantization (vq) with a codebook that is learned, or finite scalar quantization "
        "(fsq), whose ids depend on what is near them alone.",
        choices=("vq", "fsq"),
    )
    levels: tuple[int, ...] = setting(
        (8, 5, 5, 5),
        "For fsq: levels of each value of a vector; their product is the number of ids.",
        low=2,
    )
    patch_size: int = setting(4, "Side of a patch, in pixels.")
    channels: tuple[int, ...] = setting(
        (32, 64), "Channels of each block; every block after the first halves the grid."
    )
    layers: int = setting(1, "Residual layers per block; the decoder has one more.")
    codebook_size: int = setting(512, "For vq: entries of the codebook.")
    code_dim: int = setting(8, "For vq: width of a codebook entry.")
    steps: int = setting(4000, "Training steps.")
    decoder_steps: int = setting(
        1000, "Further steps that train the decoder alone, with fixed token ids.", low=0
    )
    batch_size: int = setting(32, "Records per step.")
    learning_rate: float = setting(2e-3, "Peak learning rate.")
    warmup: int = setting(100, "Steps over which the learning rate rises to its peak.", low=0)
    precision: str = setting("auto", _PRECISION, choices=PRECISIONS)
    seed: int = setting(0, "Seed of weights, batches and noise.", low=ANY)


@dataclass(frozen=True)
class PriorSettings:
    """The prior p(z|c), a T5 encoder-decoder."""

    pretrained: str = setting(
        "", "Folder or hub name of a T5 to fine-tune; empty: a small one is trained from scratch."
    )
    lora_rank: int = setting(
        0,
        "Rank of adapters (LoRA) on the decoder of a pretrained T5, which learn in its place; "
        "0: the whole decoder learns.",
        low=0,
    )
    encoder: str = setting(
        "frozen",
        "Whether the encoder of a pretrained T5 is frozen or trained too. One from scratch always "
        "is.",
        choices=("frozen", "trained"),
    )
    z_kinds: tuple[str, ...] = setting((), _Z_KINDS + "all that were extracted.", alias="--z")
    usual_z: tuple[str, ...] = setting(
        (),
        "The kinds that the usual rows show; the others show a random subset of all. Empty: all.",
    )
    usual_share: float = setting(0.5, "Share of the usual rows.", low=0, high=1)
    scheduled_sampling: str = setting(
        "off",
        "How the share of tokens grows that the prior reads of its own in training.",
        choices=("off", "linear", "exponential", "inverse-sigmoid"),
    )
    scheduled_share: float = setting(0.25, "That share at the end of training.", low=0, high=1)
    preference: float = setting(
        0.0,
        "Weight in the loss of z that the prior draws itself and that contradict themselves, which "
        "become less likely; 0 draws none.",
        low=0,
    )
    d_model: int = setting(128, "Width of the transformer.")
    d_ff: int = setting(256, "Width of its feed-forward layers.")
    layers: int = setting(4, "Layers of the encoder, and of the decoder.")
    heads: int = setting(4, "Attention heads.")
    dropout: float = setting(
        0.1, "Dropout rate; it helps with captions not seen in training.", low=0, high=1
    )
    dropout_steps: int = setting(
        1000, "Steps with dropout; the remaining ones train faster without it.", low=0
    )
    structure_weight: float = setting(
        5.0, "Weight in the loss of labels, markers and ends, relative to numbers."
    )
    vocab_size: int = setting(2048, "Entries of the vocabulary learned from the captions.")
    max_caption_tokens: int = setting(64, "Longest caption, in tokens.")
    steps: int = setting(2000, "Training steps.")
    batch_size: int = setting(64, "Records per step.")
    learning_rate: float = setting(2e-3, "Peak learning rate.")
    warmup: int = setting(100, "Steps over which the learning rate rises to its peak.", low=0)
    precision: str = setting("auto", _PRECISION, choices=PRECISIONS)
    seed: int = setting(0, "Seed of weights, batches and dropout.", low=ANY)


@dataclass(frozen=True)
class DiffusionSettings:
    """The denoiser p(x|z,c), trained by flow matching."""

    architecture: str = setting(
        "transformer",
        "A transformer over patches between convolutions, or the nested U-Net of the paper "
        "(Matryoshka).",
        choices=("transformer", "nested-unet"),
    )
    pretrained: str = setting("", "Folder of a diffusion model of the same sizes to start from.")
    z_kinds: tuple[str, ...] = setting((), _Z_KINDS + "those of the prior.", alias="--z")
    image_size: int = setting(
        32,
        "Side of the generated square images, in pixels; those of other shapes have about its "
        "area. The data's images are resized to it.",
        low=8,
        high=4096,
    )
    aspect: float = setting(
        2.0,
        "Largest ratio of the sides of an image; images of the data that are longer are cropped to "
        "it. 1 trains squares alone.",
        low=1,
        high=4,
    )
    space: str = setting(
        "pixels",
        "Where the denoiser draws: in pixels, or in the latent space of an autoencoder.",
        choices=("pixels", "latents"),
    )
    autoencoder: str = setting(
        "",
        "Autoencoder of the latent space, an AutoencoderKL or AutoencoderDC of diffusers or a "
        "pipeline with one: a folder or a name on the Hugging Face hub.",
    )
    outer_channels: tuple[int, ...] = setting(
        (32, 64),
        "For the nested U-Net: channels of each level of the outer one; each after the first "
        "halves the picture, and the last has the resolution of the inner one.",
    )
    outer_blocks: tuple[int, ...] = setting(
        (2, 1), "For the nested U-Net: residual blocks of each level of the outer one."
    )
    inner_channels: tuple[int, ...] = setting(
        (64, 128), "For the nested U-Net: channels of each level of the inner one."
    )
    inner_blocks: tuple[int, ...] = setting(
        (2, 2), "For the nested U-Net: residual blocks of each level of the inner one."
    )
    inner_attention: tuple[int, ...] = setting(
        (0, 1),
        "For the nested U-Net: layers of attention to places, c and z after each block of a level "
        "of the inner one.",
        low=0,
    )
    layers: int = setting(2, "Transformer layers.")
    heads: int = setting(4, "Attention heads.")
    head_dim: int = setting(32, "Width of an attention head.")
    patch_size: int = setting(
        4, "Side of a patch, in pixels or in values of the latent space; even."
    )
    pixel_channels: int = setting(
        48, "Channels of the convolutions around the transformer, a multiple of 8."
    )
    drop_condition: float = setting(
        0.1, "Probability of training without c and z, for classifier-free guidance.", low=0, high=1
    )
    z_noise: float = setting(
        0.0,
        "Largest amount of noise on z in training: items moved, labels swapped, items dropped. The "
        "amount is drawn for each record, and the denoiser is told of it.",
        low=0,
        high=1,
    )
    steps: int = setting(2000, "Training steps.")
    batch_size: int = setting(16, "Records per step.")
    noise_shift: float = setting(
        0.0,
        "Factor on the odds of noise, for training and sampling; 0 chooses it by image_size and "
        "space.",
        low=0,
    )
    noise_draws: int = setting(
        2, "Noisy images per record and step; c and z are encoded once for all of them."
    )
    naming_weight: float = setting(
        0.1, "Weight in the loss of predicting z's words from patches; 0 leaves it out.", low=0
    )
    learning_rate: float = setting(1e-3, "Peak learning rate.")
    warmup: int = setting(100, "Steps over which the learning rate rises to its peak.", low=0)
    precision: str = setting("auto", _PRECISION, choices=PRECISIONS)
    ema: float = setting(0.999, "Decay of the averaged weights.", low=0, high=1)
    seed: int = setting(0, "Seed of weights, batches and noise.", low=ANY)


@dataclass(frozen=True)
class JointSettings:
    """Prior and denoiser trained together, with the sizes of their sections."""

    start: str = setting(
        "scratch",
        "Train both from scratch, or go on with the workspace's models, trained one after the "
        "other.",
        choices=("scratch", "staged"),
    )
    eta: float = setting(1.0, "Weight of the prior's loss beside the denoiser's.")
    steps: int = setting(2000, "Training steps.")
    batch_size: int = setting(16, "Records per step.")
    learning_rate: float = setting(1e-3, "Peak learning rate.")
    warmup: int = setting(100, "Steps over which the learning rate rises to its peak.", low=0)
    precision: str = setting("auto", _PRECISION, choices=PRECISIONS)
    ema: float = setting(0.999, "Decay of the averaged weights.", low=0, high=1)
    seed: int = setting(0, "Seed of weights, batches and noise.", low=ANY)


@dataclass(frozen=True)
class AdapterSettings:
    """The adapter, through which a text-to-image model of others reads z."""

    base: str = setting(
        "",
        "The base: the folder of a diffusers pipeline, or its name on the Hugging Face hub. It "
        "must not be distilled.",
    )
    z_kinds: tuple[str, ...] = setting((), _Z_KINDS + "all that were extracted.", alias="--z")
    image_size: int = setting(
        0,
        "Side of the square pictures that it is trained on, in pixels; those of other shapes have "
        "about its area. 0: the base's own.",
        low=32,
        high=4096,
        or_zero=True,
    )
    aspect: float = setting(
        2.0,
        "Largest ratio of the sides of a picture; those of the data that are longer are cropped to "
        "it. 1 trains squares alone.",
        low=1,
        high=4,
    )
    every: int = setting(2, "z is read in every block whose number is a multiple of it.")
    inner: int = setting(256, "Width of the blocks' attention to z, a multiple of its 4 heads.")
    width: int = setting(256, "Width of the tokens of z, a multiple of 4.")
    layers: int = setting(2, "Layers in which the tokens of z see each other.")
    vocab_size: int = setting(2048, "Entries of the vocabulary learned from z.")
    lora_rank: int = setting(
        0,
        "Rank of low-rank adapters (LoRA) on the base's own attention, which learn beside the "
        "adapter; 0: the base stays as it is.",
        low=0,
        alias="--lora",
    )
    cache: float = setting(
        4.0,
        "Main memory, in GB, for latents of pictures and states of captions, each of which is then "
        "computed once; 0: none.",
        low=0,
    )
    drop_condition: float = setting(
        0.1, "Probability of training without c and z, for classifier-free guidance.", low=0, high=1
    )
    z_noise: float = setting(
        0.0,
        "Largest amount of noise on z in training, of which the adapter is told, as "
        "`diffusion.z_noise`; it draws z as if it had none.",
        low=0,
        high=1,
    )
    steps: int = setting(2000, "Training steps.")
    batch_size: int = setting(16, "Records per step.")
    learning_rate: float = setting(1e-4, "Peak learning rate.")
    warmup: int = setting(100, "Steps over which the learning rate rises to its peak.", low=0)
    precision: str = setting(
        "auto",
        "Precision of the forward pass; auto takes fp32 where the base's weights have it.",
        choices=PRECISIONS,
    )
    ema: float = setting(0.999, "Decay of the averaged weights.", low=0, high=1)
    seed: int = setting(0, "Seed of weights, batches and noise.", low=ANY)


@dataclass(frozen=True)
class TrainSettings:
    """How training computes, for all models."""

    processes: int = setting(
        1, "Processes that train together, one for each GPU; `kaleido train` starts them."
    )
    micro_batch: int = setting(
        0,
        "Records computed at a time; a step adds up as many such parts as its batch has, on all "
        "processes. 0: an equal share of the batch for each process.",
        low=0,
    )
    gradient_checkpointing: str = setting(
        "off",
        "Compute activations again in the backward pass in place of keeping them: less memory, "
        "about a third more time.",
        choices=("off", "on"),
    )
    fsdp: str = setting(
        "off",
        "Divide weights, gradients, moments and averages of the blocks among the processes (FSDP): "
        "less memory on each, more that they send each other.",
        choices=("off", "on"),
    )
    optimizer: str = setting(
        "adamw",
        "AdamW in fp32, or with its moments in 8 bits by bitsandbytes.",
        choices=("adamw", "adamw8bit"),
    )
    clip: float = setting(1.0, "Largest norm of the gradient; a larger one is scaled down to it.")
    compile: str = setting(
        "off",
        "Compile the blocks of the network, which takes minutes at the start.",
        choices=("off", "on"),
    )
    validate_every: int = setting(
        500, "Steps between two losses on held-out records; 0: never.", low=0
    )
    preview_every: int = setting(
        0, "Steps of the denoiser between two sheets of pictures in logs/MODEL; 0: never.", low=0
    )
    track: str = setting(
        "",
        "Also log the numbers to a tracker of experiments (extras: track, trackio).",
        choices=("", "tensorboard", "trackio"),
    )


@dataclass(frozen=True)
class SampleSettings:
    """Sampling z, then x."""

    n: int = setting(16, "Samples per caption.", alias="-n")
    cfg: float = setting(
        7.5, "Scale of classifier-free guidance (CFG); 1 is the plain conditional model.", low=0
    )
    cfg_begin: float = setting(
        1.0, "Noise level above which nothing is guided; 1 guides from the start.", low=0, high=1
    )
    cfg_end: float = setting(
        0.5, "Noise level below which nothing is guided; 0 guides to the end.", low=0, high=1
    )
    size: str = setting(
        "",
        "Width and height of pictures in pixels, such as 384x256, or one number for both. Your own "
        "models draw the sizes that they were trained on. Empty: the usual size.",
    )
    sampler: str = setting(
        "euler",
        "Method of integration: euler; dpm++, DPM-Solver++(2M), which is of second order; or a "
        "scheduler of diffusers by the name of its class, such as UniPCMultistepScheduler.",
    )
    steps: int = setting(16, "Steps of the sampler.")
    seed: int = setting(0, "Seed of z and noise.", low=ANY)
    z_seed: int = setting(0, "Added to the seed for z alone: other z with the same noise.", low=ANY)
    noise_seed: int = setting(
        0, "Added to the seed for noise alone: the same z with other noise.", low=ANY
    )
    temperature: float = setting(1.0, "Temperature of the prior.")
    top_k: int = setting(0, "Likeliest tokens that the prior may draw; 0 keeps all.", low=0)
    top_p: float = setting(1.0, "Nucleus of the prior; 1 keeps every token.", high=1)
    min_p: float = setting(
        0.0,
        "Least probability of a token, as a share of the likeliest one's; 0 keeps every token.",
        low=0,
        high=1,
    )
    typical_p: float = setting(
        1.0, "Mass of typical tokens that the prior may draw; 1 keeps every token.", high=1
    )
    repetition_penalty: float = setting(
        1.0, "Divides logits of words that a description already has; 1 changes nothing."
    )
    no_repeat_ngram: int = setting(
        0, "Tokens in a row that a description may not have twice; 0 allows all.", low=0
    )
    z_candidates: int = setting(
        8, "z drawn for a picture at most: the first that is sound is taken; 1 takes any."
    )
    z_overlap: float = setting(
        0.5,
        "A z is sound if each of its boxes overlaps the blob of its label at least so far (IoU), "
        "and as far as the data's do, if the prior has learned that by label; 0 asks for none.",
        low=0,
        high=1,
    )
    z_colours: str = setting(
        "on",
        "A z is sound if its palette has the colours that its description says, if those of the "
        "data do; off does not ask.",
        choices=("on", "off"),
    )
    z_places: str = setting(
        "on",
        "A z is sound if its boxes are where its description says, if those of the data are; off "
        "does not ask.",
        choices=("on", "off"),
    )
    z_surprise: float = setting(
        3.0,
        "A z is sound if no label, separator or end is a greater slip, in nats beyond the entropy "
        "where there is little to choose; 0 does not ask.",
        low=0,
    )
    z_noise: float = setting(
        0.0,
        "How much noise the denoiser is told that z has, if it was trained with noise on z: more, "
        "and it trusts z less.",
        low=0,
        high=1,
    )
    batch_size: int = setting(16, "Images sampled together; the pictures do not depend on it.")
    speed: tuple[str, ...] = setting(
        (),
        "Faster ways to compute the denoiser, which round differently: channels-last, bf16, "
        "compile. `kaleido doctor --bench` measures which help on this machine.",
        choices=("channels-last", "bf16", "compile"),
    )


@dataclass(frozen=True)
class BaseSettings:
    """Drawing with a text-to-image model of others, `sample --base`."""

    adapter: str = setting(
        "",
        "Adapter through which it reads z: a folder that `kaleido train adapter` wrote, or a name "
        "on the Hugging Face hub; empty: z becomes its prompt.",
    )
    negative: str = setting(
        "",
        "Negative prompt, what guidance leads away from; empty: the model's usual null condition.",
        alias="--negative-prompt",
    )
    dtype: str = setting(
        "auto",
        "Precision of the weights; auto takes bf16 on a GPU and fp32 elsewhere, fp8 keeps those of "
        "the denoiser in 8 bits.",
        choices=("auto", "bf16", "fp16", "fp32", "fp8"),
    )
    offload: str = setting(
        "none",
        "What waits in main memory until the GPU needs it: nothing, whole networks, or layers, "
        "which is slowest and takes the least memory.",
        choices=("none", "model", "layer"),
    )


@dataclass(frozen=True)
class EvaluateSettings:
    """Comparing Kaleido with the baseline."""

    features: str = setting(
        "",
        "Vision model of transformers (DINOv2, CLIP, SigLIP) in whose features pictures are "
        "compared: a folder or a name on the Hugging Face hub; empty: the judge of scenes.",
    )
    captions: int = setting(16, "Held-out captions; intervals need at least 2.")
    n: int = setting(16, "Samples per caption and seed.", low=2, alias="-n")
    cfg: tuple[float, ...] = setting(
        (1.0, 3.0, 7.5), "Scales of classifier-free guidance to compare.", low=0, alias="--sweep"
    )
    steps: int = setting(16, "Steps of the sampler.")
    seeds: tuple[int, ...] = setting((0, 1, 2), "Seeds to sample with.", low=ANY)
    training: int = setting(2048, "Training pictures searched for copies; 0: all.", low=0)


@dataclass(frozen=True)
class DrawingSettings:
    """Where `kaleido sample` and `kaleido evaluate` draw pictures of many captions."""

    engine: str = setting(
        "local",
        "In this process, or on the nodes of a Ray cluster, which give the same pictures.",
        choices=("local", "ray"),
    )
    address: str = setting(
        "",
        "Address of the Ray cluster; empty: that of RAY_ADDRESS, else one on this machine.",
    )
    workers: int = setting(
        1,
        "Processes on all nodes of the cluster together. Each takes a GPU if there is any, else as "
        "many CPUs as this machine computes with.",
    )


@dataclass(frozen=True)
class ComputeSettings:
    """Where networks compute."""

    device: str = setting(
        "auto", "auto takes a GPU if there is one; otherwise cpu, cuda, cuda:1, mps and so on."
    )


@dataclass(frozen=True)
class Settings:
    """The whole file, a section per field."""

    data: DataSettings = field(default_factory=DataSettings)
    extract: ExtractSettings = field(default_factory=ExtractSettings)
    server: ServerSettings = field(default_factory=ServerSettings)
    tokenizer: TokenizerSettings = field(default_factory=TokenizerSettings)
    prior: PriorSettings = field(default_factory=PriorSettings)
    diffusion: DiffusionSettings = field(default_factory=DiffusionSettings)
    joint: JointSettings = field(default_factory=JointSettings)
    adapter: AdapterSettings = field(default_factory=AdapterSettings)
    train: TrainSettings = field(default_factory=TrainSettings)
    sample: SampleSettings = field(default_factory=SampleSettings)
    base: BaseSettings = field(default_factory=BaseSettings)
    evaluate: EvaluateSettings = field(default_factory=EvaluateSettings)
    drawing: DrawingSettings = field(default_factory=DrawingSettings)
    compute: ComputeSettings = field(default_factory=ComputeSettings)


@dataclass(frozen=True)
class Setting:
    """One setting, as it was declared.

    Attributes:
        section: ``prior``.
        key: ``steps``.
        type: int, float, str, or a tuple of one of them.
        default: The value where the file is silent.
        declared: Help, range and choices.
    """

    section: str
    key: str
    type: Any
    default: Any
    declared: Declared

    @property
    def name(self) -> str:
        """``prior.steps``."""
        return f"{self.section}.{self.key}"


_CLASSES = get_type_hints(Settings)

SECTIONS: dict[str, str] = {
    name: (cls.__doc__ or "").partition("\n")[0] for name, cls in _CLASSES.items()
}
"""Section name to what it is about."""

SETTINGS: dict[str, Setting] = {
    f"{section}.{item.name}": Setting(
        section, item.name, hints[item.name], item.default, item.metadata["declared"]
    )
    for section, cls in _CLASSES.items()
    for hints in [get_type_hints(cls)]
    for item in fields(cls)
}
"""``section.key`` to its declaration, in the file's order."""

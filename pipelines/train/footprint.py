"""Estimate what a training run needs, on the meta device: no weights and no images are read."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from pipelines.core.files import METADATA
from pipelines.core.progress import SILENT
from pipelines.core.sizes import format_bytes
from pipelines.models.caption_encoder import drop_encoder
from pipelines.models.conditioning import Conditioning
from pipelines.models.denoiser.attention import OFFSET_FEATURES
from pipelines.models.denoiser.nested import NestedUNet2DModel
from pipelines.models.denoiser.network import PreparedConditioning
from pipelines.models.device import compute_device
from pipelines.models.diffusion import Denoiser, build_diffusion
from pipelines.models.hub import model_folder, model_identity
from pipelines.models.latent_space import chosen_autoencoder
from pipelines.models.prior import Prior
from pipelines.models.tokenizer import Tokenizer, build_tokenizer
from pipelines.train.blocks import prepared_blocks
from pipelines.train.captions import are_stored
from pipelines.train.ema import averaged, buffers, trainable
from pipelines.train.micro import micro_size
from pipelines.train.options import TrainOptions
from pipelines.train.pictures import check_sizes
from pipelines.train.prior_task import learning_blocks
from pipelines.train.ranks import Ranks
from pipelines.train.sharding import shardable
from pipelines.train.stream import RecordStream
from pipelines.train.tokenizer import first_task
from pipelines.train.untrained_prior import check_width, new_prior, shaped_prior
from pipelines.workspace.inputs import training_kinds
from pipelines.workspace.workspace import CAPTION_STATES, Workspace

Z_TOKENS = 256
"""Tokens of z that the estimate assumes; how long they are is known only once they are read."""

VALUE = 4
"""Bytes of an fp32 value: weights, gradients, moments and averages are all in fp32."""

MOMENT = {"adamw": 4.0, "adamw8bit": 1.0 + 4.0 / 256}
"""Bytes of a moment of the optimizer; in 8 bits, each 256 values share a scale."""


@dataclass(frozen=True)
class Footprint:
    """What a training run needs.

    Attributes:
        name: What is trained.
        parameters: Parameters of the model, frozen ones included.
        trainable: Parameters that are trained.
        memory: Bytes by part. ``weights`` include buffers and, for the denoiser, the frozen prior;
            ``optimizer`` holds AdamW's two moments. ``activations`` are the tensors that autograd
            keeps in the forward pass of a batch, in fp32 and with z of `Z_TOKENS` tokens; with bf16
            they need about half of it.
        memory_free: Free bytes of the device; None where they are unknown.
        device: The device.
        checkpoint: Bytes of a checkpoint on disk. A new one is written before the old one is
            removed, so twice as much is needed.
        steps: Optimizer steps.
        batch_size: Records in a step.
        micro_batch: Records that a process computes at a time.
        records: Training records in an epoch.
        batches_per_epoch: Steps that see every record once.
    """

    name: str
    parameters: int
    trainable: int
    memory: dict[str, int]
    memory_free: int | None
    device: str
    checkpoint: int
    steps: int
    batch_size: int
    micro_batch: int
    records: int
    batches_per_epoch: int

    @property
    def memory_needed(self) -> int:
        """Bytes of all parts together."""
        return sum(self.memory.values())

    @property
    def fitting(self) -> int:
        """The largest micro-batch that fits into the free memory; 0 if none does."""
        if self.memory_free is None:
            return self.micro_batch
        one = self.memory["activations"] / self.micro_batch
        left = self.memory_free - self.memory_needed + self.memory["activations"]
        return max(min(int(left / one), self.micro_batch), 0)

    @property
    def warning(self) -> str:
        """A sentence if the run will not fit into the device's memory; empty if it will."""
        if self.memory_free is None or self.memory_needed <= self.memory_free:
            return ""
        advice = "train a smaller model, or set train.gradient_checkpointing"
        if self.fitting:
            advice = f"--micro-batch {self.fitting} fits, with the same batch in more parts"
        return (
            f"{self.name}: training needs about {format_bytes(self.memory_needed)}, but "
            f"{self.device} has {format_bytes(self.memory_free)} free; {advice}."
        )


def prior_footprint(workspace: Workspace, roughly: bool = False) -> Footprint:
    """Estimate ``train prior``.

    Args:
        workspace: Where the data are.
        roughly: Read no captions, from which the vocabulary follows, and count no records: it has
            the size of the settings then.

    Raises:
        InputMissing: If data or latents are missing.
        KaleidoError: If the pretrained model's configuration is no T5's.
    """
    settings = workspace.settings.prior
    check_width(settings)
    settings = replace(settings, z_kinds=training_kinds(workspace, settings.z_kinds))
    stream = None
    if not roughly:
        stream = RecordStream(workspace, settings.z_kinds, settings.seed, images=False)
    with torch.device("meta"):
        if stream is None:
            prior = shaped_prior(settings)
        else:
            prior = new_prior(settings, stream, SILENT, weights=False)
        if settings.pretrained and workspace.latents(CAPTION_STATES).is_dir():
            prior.encoder = model_identity(model_folder(settings.pretrained))
            if are_stored(workspace, prior):
                drop_encoder(prior)
        model = prior.model
        options = TrainOptions.of(settings, workspace.settings.train)
        rows = rows_of(options, workspace)
        caption = torch.ones(rows, settings.max_caption_tokens, dtype=torch.long)
        z = torch.ones(rows, Z_TOKENS, dtype=torch.long)

        def forward() -> torch.Tensor:
            with torch.set_grad_enabled(not prior.encoder_frozen):
                states = model.get_encoder()(input_ids=caption)
            # Without masks: transformers would look into them, and they hold no values here.
            out = model(encoder_outputs=states, decoder_input_ids=z, use_cache=False)
            return nn.functional.cross_entropy(out.logits.transpose(1, 2), z)

        with prepared_blocks(learning_blocks(prior), replace(options, compile="off")):
            activations = saved_bytes(forward)
    size = 0 if stream is None else stream.size
    part = kept_part(workspace, model, learning_blocks(prior))
    return footprint_of("prior", model, options, rows, size, activations, part=part)


def diffusion_footprint(workspace: Workspace, baseline: bool = False) -> Footprint:
    """Estimate ``train diffusion``, for the trained prior, or one that `train_prior` would make.

    Raises:
        InputMissing: If data or latents are missing.
        KaleidoError: If the prior's configuration cannot be read, or the sizes do not fit.
    """
    settings = workspace.settings.diffusion
    ref = chosen_autoencoder(settings) if settings.space == "latents" else None
    check_sizes(settings, 1 if ref is None else ref.factor)
    with torch.device("meta"):
        prior = _planned_prior(workspace)
    kinds = training_kinds(workspace, settings.z_kinds, prior.z_kinds)
    stream = RecordStream(workspace, kinds, settings.seed)
    with torch.device("meta"):
        model = build_diffusion(settings, prior, () if baseline else kinds, ref)
        options = TrainOptions.of(settings, workspace.settings.train)
        rows = rows_of(options, workspace)
        with prepared_blocks(model.blocks(), replace(options, compile="off")):
            activations = saved_bytes(lambda: _denoise(model.denoiser, rows * settings.noise_draws))
    name = "baseline" if baseline else "diffusion"
    frozen = VALUE * sum(value.numel() for value in prior.model.parameters())
    part = kept_part(workspace, model, shardable(model.blocks()))
    return footprint_of(name, model, options, rows, stream.size, activations, frozen, part)


def _planned_prior(workspace: Workspace) -> Prior:
    folder, settings = workspace.models("prior"), workspace.settings.prior
    if (folder / METADATA).exists():
        return Prior.load(folder, weights=False)
    return shaped_prior(replace(settings, z_kinds=training_kinds(workspace, settings.z_kinds)))


def tokenizer_footprint(workspace: Workspace) -> Footprint:
    """Estimate ``train tokenizer`` for images of the most frequent size of the data.

    Raises:
        InputMissing: If there are no data.
        KaleidoError: If the sizes do not fit.
    """
    settings = workspace.settings.tokenizer
    stream = RecordStream(workspace, (), settings.seed)
    ((size, _),) = stream.picture_sizes().most_common(1)
    side = max(size)
    with torch.device("meta"):
        tokenizer = build_tokenizer(settings, side)
        options = TrainOptions.of(settings, workspace.settings.train)
        rows = rows_of(options, workspace)
        images = torch.zeros(rows, 3, side, side)
        blocks = first_task(tokenizer, stream).blocks()
        with prepared_blocks(blocks, replace(options, compile="off")):
            activations = saved_bytes(lambda: _reconstruct(tokenizer, images))
    return footprint_of("tokenizer", tokenizer.model, options, rows, stream.size, activations)


def rows_of(options: TrainOptions, workspace: Workspace) -> int:
    """Return the records of a micro-batch, on the first of the processes."""
    return micro_size(options, Ranks(0, workspace.settings.train.processes))


def _denoise(denoiser: Denoiser, rows: int) -> torch.Tensor:
    config = denoiser.config
    noisy = torch.zeros(rows, config.in_channels, config.sample_size, config.sample_size)
    scales, words = denoiser.predict_with_words(noisy, torch.zeros(rows), _prepared(denoiser, rows))
    return torch.stack([clean.square().mean() for clean in scales]).sum() + words.square().mean()


def _prepared(denoiser: Denoiser, rows: int) -> Any:
    """Return what the denoiser prepares for a z of `Z_TOKENS` tokens."""
    config = denoiser.config
    if isinstance(denoiser, NestedUNet2DModel):
        tokens, known = torch.zeros(rows, Z_TOKENS, config.context_dim), torch.zeros(rows, Z_TOKENS)
        return denoiser.prepare(
            Conditioning(tokens, known, torch.zeros(rows, Z_TOKENS, 4), known.bool())
        )
    width, half = config.num_attention_heads * config.attention_head_dim, config.sample_size // 2
    patches = (config.sample_size // config.patch_size) ** 2
    return PreparedConditioning(
        tuple(
            (torch.zeros(rows, Z_TOKENS, width), torch.zeros(rows, Z_TOKENS, width))
            for _ in range(config.num_layers)
        ),
        torch.zeros(rows, config.num_attention_heads, patches, Z_TOKENS),
        torch.zeros(rows, patches, Z_TOKENS, OFFSET_FEATURES),
        torch.zeros(rows, config.pixel_channels, half, half),
        torch.zeros(1, patches, width),
    )


def _reconstruct(tokenizer: Tokenizer, images: torch.Tensor) -> torch.Tensor:
    return (tokenizer.pictures(tokenizer.states(images)) - images).square().mean()


def saved_bytes(forward: Callable[[], torch.Tensor]) -> int:
    """Count the bytes that autograd keeps for the backward pass, without the parameters."""
    sizes: dict[int, tuple[int, torch.UntypedStorage]] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        if not isinstance(tensor, nn.Parameter):
            storage = tensor.untyped_storage()
            sizes[storage._cdata] = (storage.nbytes(), storage)  # kept alive, so ids stay unique
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        forward()
    return sum(size for size, _ in sizes.values())


def footprint_of(
    name: str,
    model: nn.Module,
    options: TrainOptions,
    rows: int,
    records: int,
    activations: int,
    frozen: int = 0,
    part: float = 1.0,
) -> Footprint:
    """Put together what a training needs.

    Args:
        name: What is trained.
        model: What learns, with what of it is frozen.
        options: The run's options.
        rows: Records of a micro-batch.
        records: Training records.
        activations: From `saved_bytes`.
        frozen: Bytes of the weights beside the model.
        part: Share of what learns that this process holds.
    """
    learned = sum(value.numel() for value in trainable(model).values())
    held = sum(value.numel() for value in (*model.parameters(), *buffers(model).values()))
    average = sum(value.numel() for value in averaged(model).values())
    extra = sum(value.numel() for value in buffers(model).values())
    device = compute_device()
    return Footprint(
        name,
        sum(value.numel() for value in model.parameters()),
        learned,
        {
            "weights": round(VALUE * (held - (1.0 - part) * learned)) + frozen,
            "gradients": round(VALUE * part * learned),
            "optimizer": round(2 * MOMENT[options.optimizer] * part * learned),
            "ema": round(VALUE * (average - (1.0 - part) * learned)),
            "activations": activations,
        },
        free_memory(device),
        str(device),
        VALUE * (learned + average + extra) + round(2 * MOMENT[options.optimizer] * learned),
        options.steps,
        options.batch_size,
        rows,
        records,
        math.ceil(records / options.batch_size),
    )


def kept_part(workspace: Workspace, model: nn.Module, divided: Sequence[nn.Module]) -> float:
    """Return the share of what learns that a process holds, if FSDP divides some modules."""
    how = workspace.settings.train
    if how.fsdp == "off" or how.processes == 1:
        return 1.0
    shared = sum(x.numel() for each in divided for x in trainable(each).values())
    whole = sum(x.numel() for x in trainable(model).values())
    return 1.0 - shared / whole * (1.0 - 1.0 / how.processes)


def free_memory(device: torch.device) -> int | None:
    """Return the free bytes of a device; None where the system does not tell."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    if device.type != "cpu":
        return None
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    except OSError:  # not Linux
        return None
    kilobytes = [line.split()[1] for line in lines if line.startswith("MemAvailable:")]
    return 1024 * int(kilobytes[0]) if kilobytes else None

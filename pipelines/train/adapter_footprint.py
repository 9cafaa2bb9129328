"""Estimate what training an adapter needs, from configurations alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from pipelines.bases.adapter import KaleidoAdapter
from pipelines.bases.adapter_lora import add_lora
from pipelines.bases.base import DTYPES, Base
from pipelines.bases.folder import open_folder
from pipelines.bases.memory import WEIGHT, FusedAttention, autocast_on_meta, meta_pipeline
from pipelines.bases.text_states import TextEncoders
from pipelines.bases.trainable import open_trainable, untrainable
from pipelines.core.progress import SILENT
from pipelines.latents.registry import KINDS
from pipelines.latents.vocabulary import train_tokenizer
from pipelines.models.device import compute_device
from pipelines.train.adapter import Learned, check_widths, open_records
from pipelines.train.blocks import prepared_blocks
from pipelines.train.captions import all_stored
from pipelines.train.footprint import Z_TOKENS, Footprint, footprint_of, rows_of, saved_bytes
from pipelines.train.options import TrainOptions
from pipelines.workspace.inputs import training_kinds
from pipelines.workspace.settings import AdapterSettings, TrainSettings
from pipelines.workspace.workspace import BASE_STATES, Workspace


def adapter_footprint(workspace: Workspace) -> Footprint:
    """Estimate ``train adapter``; no weights of the base are read or fetched.

    Raises:
        InputMissing: If data or latents are missing.
        KaleidoError: If the base cannot be trained, or a size does not fit.
    """
    settings = workspace.settings.adapter
    check_widths(settings)
    kinds = training_kinds(workspace, settings.z_kinds)
    folder = open_trainable(settings.base, with_weights=False)
    base = Base(folder, meta_pipeline(folder))
    side = settings.image_size or base.family.default_side(base.pipe)
    settings = replace(settings, z_kinds=kinds, image_size=side)
    stream = open_records(workspace, settings, base.family.multiple, SILENT)
    options = TrainOptions.of(settings, workspace.settings.train)
    rows = rows_of(options, workspace)
    dtype = workspace.settings.base.dtype
    stored = all_stored(workspace, BASE_STATES, TextEncoders(folder, dtype).options)
    absent = folder.text_parts if stored else ()
    return _footprint(base, settings, options, (side, side), rows, stream.size, dtype, absent)


@dataclass(frozen=True)
class AdapterOutlook:
    """What an adapter for a base would be, with the usual settings.

    Attributes:
        why_not: Why none can be trained; empty if one can.
        parameters: Of the adapter.
        blocks: Blocks of the base that read z.
        training: Bytes on a GPU while it is trained, a picture at a time, with the base in bf16.
        checkpointed: The same with gradient checkpointing, which is slower.
    """

    why_not: str
    parameters: int = 0
    blocks: int = 0
    training: int = 0
    checkpointed: int = 0


def adapter_outlook(name: str, height: int, width: int) -> AdapterOutlook:
    """Tell whether an adapter can be trained for a base, and what that needs.

    Args:
        name: A folder, or a name on the hub; no weights are fetched.
        height: Pixels of a picture.
        width: Pixels of a picture.
    """
    folder = open_folder(name, with_weights=False)
    if error := untrainable(folder):
        return AdapterOutlook(error.why)
    settings = replace(AdapterSettings(), z_kinds=tuple(KINDS))
    base = Base(folder, meta_pipeline(folder))
    needed = []
    for how in ("off", "on"):
        options = TrainOptions.of(settings, TrainSettings(gradient_checkpointing=how))
        found = _footprint(base, settings, options, (height, width), 1, 0, "bf16")
        needed.append(found.memory_needed)
    blocks = len(base.family.blocks(base.denoiser)[:: settings.every])
    return AdapterOutlook("", found.parameters, blocks, needed[0], needed[1])


def _footprint(
    base: Base,
    settings: AdapterSettings,
    options: TrainOptions,
    size: tuple[int, int],
    rows: int,
    records: int,
    dtype: str,
    absent: Sequence[str] = (),
) -> Footprint:
    """Estimate a training for which some components of the base are not loaded."""
    with torch.device("meta"):
        adapter, lora = _untrained(settings, base)
        base = replace(base, adapter=adapter)
        blocks = [block.module for block in base.family.blocks(base.denoiser)]
        prepared = prepared_blocks(blocks, replace(options, compile="off"))
        with autocast_on_meta(), FusedAttention(), prepared:
            activations = saved_bytes(lambda: _predict(base, settings.width, size, rows))
        adapter.detach()
    loaded = (part for name, part in base.pipe.components.items() if name not in absent)
    networks = [part for part in loaded if isinstance(part, torch.nn.Module)]
    count = sum(value.numel() for network in networks for value in network.parameters())
    count -= sum(value.numel() for value in lora)
    learned, frozen = Learned(adapter, lora), count * _bytes_of_weight(dtype)
    return footprint_of("adapter", learned, options, rows, records, activations, frozen)


def _untrained(settings: AdapterSettings, base: Base) -> tuple[KaleidoAdapter, list[Any]]:
    tokenizer = train_tokenizer([], settings.vocab_size, settings.z_kinds)
    adapter = KaleidoAdapter.of_base(
        base.family,
        base.denoiser,
        tokenizer,
        settings.z_kinds,
        settings.every,
        width=settings.width,
        layers=settings.layers,
        inner=settings.inner,
    )
    rank = settings.lora_rank
    lora = add_lora(base.family, base.denoiser, rank) if rank else []
    return adapter.train().attach(base.pipe), lora


def _predict(base: Base, z_width: int, size: tuple[int, int], rows: int) -> torch.Tensor:
    family, denoiser = base.family, base.denoiser
    like = torch.empty(0, device=denoiser.device, dtype=denoiser.dtype)
    noisy = like.new_zeros(rows, *family.latent_shape(base.pipe, *size))
    condition = family.blank(base.pipe, rows, like)
    condition["z"] = torch.zeros(rows, Z_TOKENS, z_width, requires_grad=True)
    condition["z_mask"] = torch.ones(rows, Z_TOKENS, dtype=torch.bool)
    condition["z_rects"] = torch.zeros(rows, Z_TOKENS, 4)
    time = torch.full((rows,), 0.5)
    return base.predict(noisy, time, condition).float().square().mean()


def _bytes_of_weight(dtype: str) -> int:
    if dtype == "auto":
        dtype = "bf16" if compute_device().type == "cuda" else "fp32"
    return DTYPES[dtype].itemsize if dtype in DTYPES else WEIGHT

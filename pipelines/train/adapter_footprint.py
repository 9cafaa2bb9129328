"""Estimate what training an adapter needs, from configurations alone."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch

from pipelines.bases.adapter import KaleidoAdapter
from pipelines.bases.adapter_lora import add_lora
from pipelines.bases.base import DTYPES, Base
from pipelines.bases.memory import WEIGHT, FusedAttention, autocast_on_meta, meta_pipeline
from pipelines.core.progress import SILENT
from pipelines.latents.vocabulary import train_tokenizer
from pipelines.models.device import compute_device
from pipelines.train.adapter import Learned, check_widths, open_records, open_trainable
from pipelines.train.blocks import prepared_blocks
from pipelines.train.footprint import Z_TOKENS, Footprint, footprint_of, rows_of, saved_bytes
from pipelines.train.options import TrainOptions
from pipelines.workspace.inputs import training_kinds
from pipelines.workspace.settings import AdapterSettings
from pipelines.workspace.workspace import Workspace


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
    with torch.device("meta"):
        adapter, lora = _untrained(settings, base)
        base = replace(base, adapter=adapter)
        blocks = [block.module for block in base.family.blocks(base.denoiser)]
        prepared = prepared_blocks(blocks, replace(options, compile="off"))
        with autocast_on_meta(), FusedAttention(), prepared:
            activations = saved_bytes(lambda: _predict(base, settings, rows))
    networks = [part for part in base.pipe.components.values() if isinstance(part, torch.nn.Module)]
    count = sum(value.numel() for network in networks for value in network.parameters())
    count -= sum(value.numel() for value in lora)
    frozen = count * _bytes_of_weight(workspace.settings.base.dtype)
    learned = Learned(adapter, lora)
    return footprint_of("adapter", learned, options, rows, stream.size, activations, frozen)


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


def _predict(base: Base, settings: AdapterSettings, rows: int) -> torch.Tensor:
    family, denoiser, side = base.family, base.denoiser, settings.image_size
    like = torch.empty(0, device=denoiser.device, dtype=denoiser.dtype)
    noisy = like.new_zeros(rows, *family.latent_shape(base.pipe, side, side))
    condition = family.blank(base.pipe, rows, like)
    condition["z"] = torch.zeros(rows, Z_TOKENS, settings.width, requires_grad=True)
    condition["z_mask"] = torch.ones(rows, Z_TOKENS, dtype=torch.bool)
    time = torch.full((rows,), 0.5)
    return base.predict(noisy, time, condition).float().square().mean()


def _bytes_of_weight(dtype: str) -> int:
    if dtype == "auto":
        dtype = "bf16" if compute_device().type == "cuda" else "fp32"
    return DTYPES[dtype].itemsize if dtype in DTYPES else WEIGHT

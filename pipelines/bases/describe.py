"""`kaleido base`: what a base is and what it needs, before a byte of its weights is loaded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from pipelines.bases.adapter import adapter_config, fits
from pipelines.bases.draw import parse_size
from pipelines.bases.folder import BaseFolder, open_folder
from pipelines.bases.memory import FOUR_BITS, WEIGHT, activation_bytes, meta_pipeline

CARDS = (8, 12, 24, 80)
"""Memory of common GPUs in GiB."""

FREE = 0.92
"""Share of a GPU's memory that remains beside the driver and fragmentation."""

GIB = 2**30


@dataclass(frozen=True)
class Part:
    """A network of a base.

    Attributes:
        name: Name of the component.
        kind: Its class.
        parameters: Number of parameters.
    """

    name: str
    kind: str
    parameters: int


@dataclass(frozen=True)
class Way:
    """A way to run a base.

    Attributes:
        flags: Of `kaleido sample --base`; empty for none.
        needs: Bytes on the GPU, for one picture.
        note: What must be so, or what it costs.
    """

    flags: str
    needs: int
    note: str


@dataclass(frozen=True)
class BaseFacts:
    """What a base is.

    Attributes:
        name: As it was given.
        family: Name of its family, for people.
        pipeline: Class of the pipeline.
        scheduler: Class of the scheduler.
        licence: What its card says, or else what is usual for the family.
        licence_is_usual: Whether the licence is only the usual one.
        variant: The variant of its weights that is loaded; empty for the usual files.
        distilled: How it was distilled; empty if nothing shows that it was.
        prompt: ``words``, or the format in which z becomes the prompt.
        text_limit: Tokens of a prompt that are read.
        long_prompts: What becomes of prompts of more than 77 tokens; empty for nothing special.
        cfg: Usual guidance scale.
        steps: Usual number of steps.
        width: Pixels of a picture.
        height: Pixels of a picture.
        parts: Its networks.
        denoising: Bytes of the activations of the denoiser.
        decoding: Bytes of the activations of the decoder.
        ways: Ways to run it, the preferred ones first.
        cards: GiB of a GPU -> flags of the first way that fits; None if none does.
        adapters: Adapters that were asked about -> whether they fit this base.
    """

    name: str
    family: str
    pipeline: str
    scheduler: str
    licence: str
    licence_is_usual: bool
    variant: str
    distilled: str
    prompt: str
    text_limit: int
    long_prompts: str
    cfg: float
    steps: int
    width: int
    height: int
    parts: list[Part]
    denoising: int
    decoding: int
    ways: list[Way]
    cards: dict[int, str | None]
    adapters: dict[str, bool]


def describe(name: str, size: str = "", adapters: Sequence[str] = ()) -> BaseFacts:
    """Describe a base from its configurations.

    Args:
        name: A folder, or a name on the hub; no weights are fetched.
        size: Width and height of pictures; empty for the base's own.
        adapters: Folders of adapters, or names on the hub, that may fit.

    Raises:
        KaleidoError: If there is no such base, or the size cannot be drawn; or what is named is no
            adapter.
    """
    folder = open_folder(name, with_weights=False)
    pipe = meta_pipeline(folder)
    family = folder.family
    steps, cfg = folder.usual_guidance
    height, width = parse_size(family, pipe, size)
    denoising, decoding = activation_bytes(folder, pipe, height, width)
    ways = _ways(folder, pipe, denoising, decoding)
    parts = [
        Part(component, type(network).__name__, _count(network))
        for component, network in _networks(pipe).items()
    ]
    return BaseFacts(
        name=name,
        family=family.title,
        pipeline=family.pipelines[0],
        scheduler=type(pipe.scheduler).__name__,
        licence=folder.licence or family.licence,
        licence_is_usual=not folder.licence,
        variant=folder.variant,
        distilled=folder.distilled,
        prompt=family.dialect,
        text_limit=family.text_limit,
        long_prompts=family.long_prompts,
        cfg=cfg,
        steps=steps,
        width=width,
        height=height,
        parts=parts,
        denoising=denoising,
        decoding=decoding,
        ways=ways,
        cards={
            card: next((way.flags for way in ways if way.needs <= card * GIB * FREE), None)
            for card in CARDS
        },
        adapters={
            adapter: fits(adapter_config(adapter), family, getattr(pipe, family.denoiser))
            for adapter in adapters
        },
    )


def _networks(pipe: Any) -> dict[str, torch.nn.Module]:
    return {
        name: part for name, part in pipe.components.items() if isinstance(part, torch.nn.Module)
    }


def _count(network: torch.nn.Module) -> int:
    return sum(value.numel() for value in network.parameters())


def _ways(folder: BaseFolder, pipe: Any, denoising: int, decoding: int) -> list[Way]:
    """List ways to run a base; quality and speed fall from one to the next."""
    networks, denoiser = _networks(pipe), folder.family.denoiser
    counts = {name: _count(network) for name, network in networks.items()}
    more = {denoiser: denoising, "vae": decoding}
    peak = max(more.values())
    whole = {name: count * WEIGHT for name, count in counts.items()}
    slim = whole | {denoiser: counts[denoiser]}
    small = {
        name: count * (WEIGHT if name == "vae" else FOUR_BITS) for name, count in counts.items()
    }

    def one_by_one(sizes: dict[str, Any]) -> int:
        return int(max(size + more.get(name, 0) for name, size in sizes.items()))

    layer = WEIGHT * max(
        sum(value.numel() for value in module.parameters(recurse=False))
        for network in networks.values()
        for module in network.modules()
    )
    return [
        Way("", sum(whole.values()) + peak, "everything stays on the GPU"),
        Way("--offload model", one_by_one(whole), "one network at a time: seconds a picture"),
        Way("--dtype fp8", sum(slim.values()) + peak, "the denoiser's weights in 8 bits"),
        Way("--dtype fp8 --offload model", one_by_one(slim), "both"),
        Way("--offload layer", peak + 2 * layer, "one layer at a time: slow"),
        Way(
            "--offload model (weights saved in 4 bits)",
            one_by_one(small),
            "for a folder that was quantised by bitsandbytes",
        ),
    ]

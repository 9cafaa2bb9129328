"""Faster ways to compute the denoiser, which round differently; `kaleido doctor` chooses them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any
from weakref import WeakKeyDictionary, WeakSet

import torch
from torch import nn

from pipelines.core.errors import KaleidoError
from pipelines.models.diffusion import TIME_SCALE, Diffusion

CHANNELS_LAST, BF16, COMPILE = "channels-last", "bf16", "compile"

Forward = Callable[[torch.Tensor, torch.Tensor, Any], torch.Tensor]
"""Predicts clean images, as `Diffusion.forward`."""

_channels_last: WeakSet[nn.Module] = WeakSet()
"""Networks whose kernels an earlier draw has laid out anew."""

_compiled: WeakKeyDictionary[nn.Module, Any] = WeakKeyDictionary()


def require_ways(ways: Sequence[str]) -> tuple[str, ...]:
    """Check the names of ways.

    Raises:
        KaleidoError: If one is unknown.
    """
    known = (CHANNELS_LAST, BF16, COMPILE)
    for way in ways:
        if way not in known:
            raise KaleidoError(
                f"speed {way!r}", "it is unknown.", f"Known: {', '.join(known)}.", "bad-setting"
            )
    return tuple(ways)


def hastened(model: Diffusion, ways: Sequence[str]) -> Forward:
    """Return the model's forward pass, computed as `ways` say.

    Args:
        model: Its weights are laid out anew where that is needed; their values stay.
        ways: Of ``channels-last``, ``bf16`` and ``compile``; none is the plain pass.
    """
    if not ways and model.denoiser not in _channels_last:
        return model
    layout = torch.channels_last if CHANNELS_LAST in ways else torch.contiguous_format
    _lay_out(model.denoiser, layout)
    denoiser = _compile(model.denoiser) if COMPILE in ways else model.denoiser

    def forward(x: torch.Tensor, sigma: torch.Tensor, prepared: Any) -> torch.Tensor:
        images = x.contiguous(memory_format=layout)
        with torch.autocast(x.device.type, torch.bfloat16, enabled=BF16 in ways):
            clean: torch.Tensor = denoiser(images, sigma * TIME_SCALE, prepared)
        return clean.float().contiguous()

    return forward if ways else model


def _lay_out(network: nn.Module, layout: torch.memory_format) -> None:
    # What is made in inference mode could not be trained any more.
    with torch.inference_mode(False):
        for part in network.parameters():
            if part.dim() == 4:
                part.data = part.data.contiguous(memory_format=layout)
    if layout is torch.channels_last:
        _channels_last.add(network)
    else:
        _channels_last.discard(network)


def _compile(network: nn.Module) -> Any:
    if network not in _compiled:
        _compiled[network] = torch.compile(network)
    return _compiled[network]

"""How much memory a base needs, from its configurations alone.

The networks are made on the meta device, where tensors have shapes but no values, and compute there
while the bytes of all tensors alive are counted. Attention counts no matrix of scores, which the
kernels of a GPU do not write down either; a convolution counts a copy of what it reads or writes,
as kernels lay both out anew, one after the other.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from pipelines.bases.folder import UNUSED, BaseFolder
from pipelines.bases.registry import pipeline_class
from pipelines.models.hub import loading_error

WEIGHT = 2
"""Bytes of a weight in bf16."""

FOUR_BITS = 0.5625
"""Bytes of a weight in 4 bits, with the scale of its block of 64."""


class PeakMemory(TorchDispatchMode):
    """Counts the bytes of the tensors that are made inside, while they are alive.

    Attributes:
        peak: Most bytes alive at once.
    """

    def __init__(self) -> None:
        super().__init__()
        self.peak = self._alive = 0
        self._seen: dict[int, Any] = {}

    def __torch_dispatch__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        """Run an operation and count those results that are no views of what was there."""
        for value in tree_leaves((args, kwargs)):
            if isinstance(value, torch.Tensor):
                self._count(value, is_new=False)
        found = function(*args, **(kwargs or {}))
        for value in tree_leaves(found):
            if isinstance(value, torch.Tensor):
                self._count(value, is_new=True)
        if function is torch.ops.aten.convolution.default and max(args[1].shape[2:]) > 1:
            self.peak = max(self.peak, self._alive + max(args[0].nbytes, found.nbytes))
        return found

    def _count(self, value: torch.Tensor, is_new: bool) -> None:
        storage = value.untyped_storage()
        key, size = storage._cdata, storage.nbytes() if is_new else 0
        if key in self._seen:
            return

        def free(_: Any) -> None:
            self._alive -= size
            del self._seen[key]

        self._seen[key] = weakref.ref(storage, free)
        self._alive += size
        self.peak = max(self.peak, self._alive)


class FusedAttention(TorchFunctionMode):
    """Replaces attention by its result's shape."""

    def __torch_function__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        """Run anything but attention."""
        kwargs = kwargs or {}
        if function is not torch.nn.functional.scaled_dot_product_attention:
            return function(*args, **kwargs)
        names = ("query", "key", "value")
        parts = [args[at] if at < len(args) else kwargs[name] for at, name in enumerate(names)]
        return _Attended.apply(*parts)


class _Attended(torch.autograd.Function):
    """What attention returns, without values; in training it keeps what kernels of a GPU keep."""

    @staticmethod
    def forward(
        context: Any, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor
    ) -> torch.Tensor:
        """Make the result, and keep it and what it is made of."""
        found = query.new_empty(*query.shape[:-1], value.shape[-1])
        context.save_for_backward(query, key, value, found)
        return found


@contextmanager
def autocast_on_meta() -> Iterator[None]:
    """Let networks switch autocast off on the meta device too, where torch knows none."""
    real = torch.autocast

    def autocast(device_type: str, *args: Any, **kwargs: Any) -> Any:
        return nullcontext() if device_type == "meta" else real(device_type, *args, **kwargs)

    torch.autocast = autocast
    try:
        yield
    finally:
        torch.autocast = real


def meta_pipeline(folder: BaseFolder, with_tokenizers: bool = False) -> Any:
    """Make a base's pipeline with networks that have no weights, in bf16.

    Args:
        folder: The base.
        with_tokenizers: Load its tokenizers, with which prompts can be counted.

    Raises:
        KaleidoError: If a configuration does not fit its class.
    """
    import diffusers
    import transformers

    parts: dict[str, Any] = {name: None for name in UNUSED if name in folder.index}
    if "requires_safety_checker" in folder.index:
        parts["requires_safety_checker"] = False
    pipeline = pipeline_class(folder.family, folder.name)
    try:
        for component, (library, name) in folder.components.items():
            kind = getattr(transformers if library == "transformers" else diffusers, name)
            if hasattr(kind, "load_config") and not issubclass(kind, torch.nn.Module):
                parts[component] = kind.from_config(kind.load_config(folder.path / component))
            elif not issubclass(kind, torch.nn.Module):  # a tokenizer
                place = folder.path / component
                parts[component] = (
                    kind.from_pretrained(place, local_files_only=True) if with_tokenizers else None
                )
            else:
                parts[component] = _on_meta(kind, folder, component)
        return pipeline(**parts)
    except Exception as error:  # the libraries raise whatever their many classes raise
        needs = "Its configurations must be those that save_pretrained writes."
        raise loading_error(error, folder.path, "base", needs) from error


def _on_meta(kind: Any, folder: BaseFolder, component: str) -> torch.nn.Module:
    place = folder.path / component
    with torch.device("meta"):
        if hasattr(kind, "config_class") and kind.config_class is not None:
            network = kind(kind.config_class.from_pretrained(place, local_files_only=True))
        else:
            network = kind.from_config(folder.config(component))
    # diffusers' own `to` warns of networks with parts in float32, which does not matter here.
    return torch.nn.Module.to(network, torch.bfloat16).eval()


@torch.no_grad()
def activation_bytes(folder: BaseFolder, pipe: Any, height: int, width: int) -> tuple[int, int]:
    """Count the bytes that denoiser and decoder need beside their weights, for one picture.

    Args:
        folder: The base.
        pipe: Its pipeline; the networks may be on the meta device.
        height: Pixels.
        width: Pixels.

    Returns:
        Peak of one call of the denoiser, and of decoding.
    """
    family = folder.family
    denoiser = getattr(pipe, family.denoiser)
    like = torch.empty(0, device=denoiser.device, dtype=denoiser.dtype)
    latents = like.new_zeros(1, *family.latent_shape(pipe, height, width))
    condition = family.blank(pipe, 1, like)
    time = torch.full((1,), 0.5, device=like.device)
    with autocast_on_meta(), FusedAttention(), PeakMemory() as denoising:
        family.predict(pipe, latents, time, condition)
    with FusedAttention(), PeakMemory() as decoding:
        family.to_pixels(pipe, latents.to(pipe.vae.dtype))
    return denoising.peak, decoding.peak

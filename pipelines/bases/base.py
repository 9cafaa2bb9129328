"""A loaded base, ready to sample from."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from warnings import catch_warnings, filterwarnings

import torch
from diffusers.utils import logging

from pipelines.bases.adapter import KaleidoAdapter
from pipelines.bases.family import Condition, Family
from pipelines.bases.folder import UNUSED, BaseFolder, open_folder
from pipelines.bases.registry import pipeline_class
from pipelines.core.errors import KaleidoError
from pipelines.core.memory import is_out_of_memory
from pipelines.models.device import compute_device
from pipelines.models.hub import loading_error, model_folder, model_identity
from pipelines.models.loading import load_network
from pipelines.models.offline import without_network
from pipelines.models.saved import without_bars

DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}


@dataclass(frozen=True)
class Base:
    """A pipeline of diffusers with its family.

    Attributes:
        folder: Where it was loaded from.
        pipe: The pipeline; its own ``__call__`` is not used.
        adapter: What is attached to it, through which it reads z; None if nothing is.
    """

    folder: BaseFolder
    pipe: Any
    adapter: KaleidoAdapter | None = None

    @property
    def family(self) -> Family:
        """The family."""
        return self.folder.family

    @property
    def denoiser(self) -> Any:
        """The network that predicts."""
        return getattr(self.pipe, self.family.denoiser)

    @property
    def device(self) -> torch.device:
        """Where the networks compute."""
        device: torch.device = self.pipe._execution_device
        return device

    def predict(self, x: torch.Tensor, time: torch.Tensor, condition: Condition) -> torch.Tensor:
        """See `Family.predict`; an adapter reads the rows of z that the condition has."""
        if self.adapter is not None:
            self.adapter.show_rows(condition, (x.shape[-2], x.shape[-1]))
        return self.family.predict(self.pipe, x, time, condition)


def precision_of(dtype: str) -> torch.dtype:
    """Return the precision in which a base computes, see `load_base`."""
    usual = DTYPES["bf16" if compute_device().type == "cuda" else "fp32"]
    return DTYPES.get(dtype, usual)


def load_base(
    name: str, dtype: str = "auto", offload: str = "none", adapter: str = "", only: str = ""
) -> Base:
    """Load a base from a folder, or from the hub.

    Only classes of diffusers and transformers are made, and only safetensors are read.

    Args:
        name: A folder that ``save_pretrained`` of a diffusers pipeline wrote, or a name on the hub.
        dtype: Precision of the weights: ``bf16``, ``fp16``, ``fp32``, or ``auto``, which is bf16 on
            a GPU and fp32 elsewhere. ``fp8`` also keeps the denoiser's weights in 8 bits; each
            layer is widened while it computes.
        offload: ``none``; ``model``: each network is on the GPU while it is used; ``layer``: each
            layer is.
        adapter: An adapter to attach: a folder, or a name on the hub; empty for none.
        only: Load only the networks that read ``text``, or only those that make ``pictures``;
            empty for all.

    Raises:
        KaleidoError: If the base cannot be found, is not of a known family, is damaged or unsafe,
            or memory runs out.
    """
    folder = open_folder(name)
    device = compute_device()
    compute = precision_of(dtype)
    left_out = [component for component in UNUSED if component in folder.index]
    left_out += _others(folder, only)
    options: dict[str, Any] = dict.fromkeys(left_out)
    if "requires_safety_checker" in folder.index:
        options["requires_safety_checker"] = False
    kind = pipeline_class(folder.family, name)
    try:
        with without_network(str(folder.path)), without_bars(), _without_pipeline_bars():
            pipe = kind.from_pretrained(
                folder.path,
                torch_dtype=compute,
                use_safetensors=True,
                variant=folder.variant or None,
                local_files_only=True,
                **options,
            )
        if dtype == "fp8" and only != "text":
            denoiser = getattr(pipe, folder.family.denoiser)
            denoiser.enable_layerwise_casting(torch.float8_e4m3fn, compute_dtype=compute)
        # Before it is placed: offloading finds the layers of LoRA only if they are there.
        attached = _attached(adapter, pipe) if adapter else None
        _place(pipe, device, offload)
    except Exception as error:  # diffusers and transformers raise errors of many libraries
        if is_out_of_memory(error):
            raise KaleidoError(
                name,
                "the memory ran out while it was loaded.",
                f"Give --offload model or layer; `kaleido base {name}` says what fits.",
                code="out-of-memory",
            ) from error
        needs = "It needs what save_pretrained of a diffusers pipeline writes, as safetensors."
        raise loading_error(error, folder.path, "base", needs) from error
    for component in pipe.components.values():
        if isinstance(component, torch.nn.Module):
            component.eval().requires_grad_(False)
    pipe.set_progress_bar_config(disable=True)
    if attached is not None:
        attached.to(pipe._execution_device)
    return Base(folder, pipe, attached)


def _others(folder: BaseFolder, only: str) -> list[str]:
    """Return the networks that are not loaded if only those of texts or of pictures are."""
    texts = [name for name in folder.text_parts if name.startswith("text_encoder")]
    return {"": [], "pictures": texts, "text": [folder.family.denoiser, "vae"]}[only]


def _attached(name: str, pipe: Any) -> KaleidoAdapter:
    folder = model_folder(name)
    identity = model_identity(folder)
    adapter = load_network(KaleidoAdapter, folder).attach(pipe)
    adapter.identity = identity
    return adapter


@contextmanager
def _without_pipeline_bars() -> Iterator[None]:
    """Keep diffusers' progress bar off the screen, and its warning of a renamed argument.

    The versions that know the new name are newer than the oldest that Kaleido allows.
    """
    logging.disable_progress_bar()
    try:
        with catch_warnings():
            filterwarnings("ignore", "`torch_dtype` is deprecated", FutureWarning)
            yield
    finally:
        logging.enable_progress_bar()


def _place(pipe: Any, device: torch.device, offload: str) -> None:
    """Put the networks onto the device, or leave them in main memory until they are used."""
    if offload == "none" or device.type == "cpu":
        pipe.to(device)
    elif offload == "model":
        pipe.enable_model_cpu_offload(device=device)
    else:
        pipe.enable_group_offload(
            onload_device=device,
            offload_device=torch.device("cpu"),
            offload_type="leaf_level",
            use_stream=device.type == "cuda",
        )

"""Low-rank adapters (LoRA, arXiv 2106.09685) on a base's own attention, beside the one to z."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from pipelines.bases.family import Family
from pipelines.core.extras import import_extra

LORA_FILE = "pytorch_lora_weights.safetensors"
"""The name, and the names of tensors in it, that diffusers' own pipelines read."""

TARGETS = (
    *("to_q", "to_k", "to_v", "to_out", "add_q_proj", "add_k_proj", "add_v_proj", "to_add_out"),
    *("to_qkv_mlp_proj", "to_out.0"),
)
"""Linear layers of attention in the classes of diffusers; klein's single blocks have one."""

NAME = "kaleido"
_A, _B = ".lora_A.weight", ".lora_B.weight"


def add_lora(family: Family, denoiser: Any, rank: int) -> list[nn.Parameter]:
    """Add low-rank adapters to the attention of a base's main blocks; at first they do nothing.

    Args:
        family: The base's family.
        denoiser: Its denoiser, which is changed.
        rank: Of the adapters.

    Returns:
        Their parameters, in fp32.

    Raises:
        KaleidoError: If peft is not installed (``not-installed``).
    """
    targets = [
        f"{block.name}.{name}"
        for block in family.blocks(denoiser)
        for name, module in block.module.named_modules()
        if isinstance(module, nn.Linear) and _is_target(name)
    ]
    found = _inject(denoiser, targets, rank)
    for parameter in found.values():
        parameter.data = parameter.data.float()
        parameter.requires_grad_(True)
    return list(found.values())


def lora_state(family: Family, denoiser: Any) -> dict[str, torch.Tensor]:
    """Return the tensors of a denoiser's low-rank adapters, as diffusers names them in files."""
    return {
        f"{family.denoiser}.{name}": value.detach().cpu().contiguous()
        for name, value in _parameters(denoiser).items()
    }


def insert_lora(family: Family, denoiser: Any, state: Mapping[str, torch.Tensor]) -> None:
    """Add trained low-rank adapters to a denoiser.

    Args:
        family: The base's family.
        denoiser: Its denoiser, which is changed.
        state: From `lora_state`.

    Raises:
        KaleidoError: If peft is not installed (``not-installed``).
    """
    own = {name.removeprefix(f"{family.denoiser}."): value for name, value in state.items()}
    targets = [name.removesuffix(_A) for name in own if name.endswith(_A)]
    rank = next(len(value) for name, value in own.items() if name.endswith(_A))
    for name, parameter in _inject(denoiser, targets, rank).items():
        # Not in the precision of the weights beside it, which may have 8 bits and widen themselves.
        parameter.data = own[name].to(parameter.device, denoiser.dtype)


def remove_lora(denoiser: Any) -> None:
    """Take the low-rank adapters away; the base's own layers are as before."""
    from peft.tuners.tuners_utils import BaseTunerLayer

    for parent in list(denoiser.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, BaseTunerLayer):
                setattr(parent, name, child.get_base_layer())


def _is_target(name: str) -> bool:
    return any(name == target or name.endswith(f".{target}") for target in TARGETS)


def _inject(denoiser: Any, targets: list[str], rank: int) -> dict[str, nn.Parameter]:
    peft = import_extra("peft", "lora")
    config = peft.LoraConfig(r=rank, lora_alpha=rank, target_modules=targets)
    own = [(parameter, parameter.requires_grad) for parameter in denoiser.parameters()]
    peft.inject_adapter_in_model(config, denoiser, adapter_name=NAME)
    for parameter, requires in own:  # torch rounds in another way where it is not required
        parameter.requires_grad_(requires)
    found = _parameters(denoiser)
    for parameter in found.values():
        parameter.requires_grad_(False)
    return found


def _parameters(denoiser: Any) -> dict[str, nn.Parameter]:
    return {
        name.replace(f".{NAME}.", "."): value
        for name, value in denoiser.named_parameters()
        if f".{NAME}." in name
    }

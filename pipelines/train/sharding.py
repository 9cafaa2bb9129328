"""FSDP: each rank holds a part of the blocks' weights, gradients, moments and averages."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import deepcopy

import torch
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor

from pipelines.core.errors import KaleidoError
from pipelines.models.denoiser.blocks import TransformerBlock
from pipelines.train.ema import trainable
from pipelines.train.micro import micro_size
from pipelines.train.options import TrainOptions
from pipelines.train.ranks import Ranks

Groups = dict[str, dict[str, torch.Tensor]]
"""Tensors of a checkpoint by group and name."""


def shardable(blocks: Sequence[nn.Module]) -> list[nn.Module]:
    """Return the modules of blocks whose weights are used in their own forward pass alone.

    The denoiser computes keys and values of its cross-attention once for all noise levels, outside
    of its blocks.
    """
    return [
        part
        for block in blocks
        for part in ((block.attn1, block.ff) if isinstance(block, TransformerBlock) else (block,))
    ]


def require_shardable(
    modules: Sequence[nn.Module], options: TrainOptions, ranks: Ranks, name: str
) -> None:
    """Raise KaleidoError unless a training can be sharded: all ranks compute alike."""
    unit = micro_size(options, ranks) * ranks.size
    problems = {
        f"--fsdp on for the {name}": (not modules, "it is too small to be divided."),
        f"train.optimizer = {options.optimizer!r}": (
            options.optimizer != "adamw",
            "its moments in 8 bits cannot be divided with the weights.",
        ),
        f"train.preview_every = {options.preview_every}": (
            options.preview_every > 0,
            "one process cannot draw alone, while all hold parts of the weights.",
        ),
        f"a batch of {options.batch_size}": (
            options.batch_size % unit != 0,
            f"{ranks.size} processes that compute alike need a multiple of {unit}.",
        ),
    }
    for what, (broken, why) in problems.items():
        if broken:
            raise KaleidoError(what, why, "Change it, or leave out --fsdp.", code="bad-setting")


@contextmanager
def without_view_warnings() -> Iterator[None]:
    """Silence FSDP's advice on modules that return views: none is changed in place here."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "FSDP2-wrapped module", UserWarning)
        yield


class Shards:
    """The parts that this rank holds of a model's modules, until `leave`.

    Optimizer and average work on them as on any tensors; `trainable` returns them by the names that
    the whole ones have.

    Args:
        model: On its device. Its modules are changed.
        modules: Those to divide, called in equal order on all ranks.
        ranks: Hold the parts.
    """

    def __init__(self, model: nn.Module, modules: Sequence[nn.Module], ranks: Ranks) -> None:
        self._model, self._ranks = model, ranks
        device = next(model.parameters()).device
        mesh = init_device_mesh(device.type, (ranks.size,))
        # Before their class is changed; without values they need no memory.
        self._plain = [(module, deepcopy(module).to("meta")) for module in modules]
        for module in modules:
            divided = fully_shard(module, mesh=mesh, reshard_after_forward=True)
            # A step is a sum over micro-batches; the ranks' means are not averaged. Gloo only sums.
            divided.set_force_sum_reduction_for_comms(True)
            divided.set_gradient_divide_factor(1.0)
        named = dict(model.named_parameters())
        self._whole = {name: value for name, value in named.items() if isinstance(value, DTensor)}
        parts = trainable(model)
        self.learned = {
            name: nn.Parameter(value.detach()) if name in self._whole else value
            for name, value in parts.items()
        }

    def replicated(self) -> list[nn.Parameter]:
        """Return the parameters that every rank holds whole."""
        return [value for name, value in self.learned.items() if name not in self._whole]

    def collect(self) -> None:
        """Take the gradients of this rank's parts, which FSDP has summed over the ranks."""
        for name, whole in self._whole.items():
            if name in self.learned:
                gradient, whole.grad = whole.grad, None
                self.learned[name].grad = None if gradient is None else gradient.to_local()

    @torch.no_grad()
    def clip(self, limit: float) -> torch.Tensor:
        """Scale the gradient down to a norm, of all parts together; return its norm before."""
        own = self._square(value for name, value in self.learned.items() if name in self._whole)
        norm = (self._square(self.replicated()) + self._ranks.sum(own)).sqrt()
        nn.utils.clip_grads_with_norm_(list(self.learned.values()), limit, norm)
        return norm

    def _square(self, values: Iterator[nn.Parameter] | Sequence[nn.Parameter]) -> torch.Tensor:
        device = next(self._model.parameters()).device
        squares = [value.grad.square().sum() for value in values if value.grad is not None]
        return torch.stack([torch.zeros((), device=device), *squares]).sum()

    def whole(self, groups: Mapping[str, Mapping[str, torch.Tensor]]) -> Groups:
        """Join the tensors of a checkpoint; all ranks call it, and the first one gets them."""
        joined: Groups = {}
        for group, tensors in groups.items():
            joined[group] = {}
            for key, value in tensors.items():
                full = self._joined(self._name(group, key), value)
                if self._ranks.first:
                    joined[group][key] = full.cpu()
        return joined

    def own(self, groups: Mapping[str, Mapping[str, torch.Tensor]]) -> Groups:
        """Return this rank's parts of the tensors of a checkpoint."""
        return {
            group: {
                key: self._part(self._name(group, key), value) for key, value in tensors.items()
            }
            for group, tensors in groups.items()
        }

    def leave(self) -> None:
        """Make the model whole again, in plain modules, on all ranks."""
        paths = {id(module): path for path, module in self._model.named_modules()}
        for module, plain in self._plain:
            path = paths[id(module)]
            device = next(module.parameters()).device
            values = {
                name: self._joined(f"{path}.{name}", value)
                for name, value in module.state_dict().items()
            }
            plain.to_empty(device=device)
            plain.load_state_dict(values)
            parent, _, name = path.rpartition(".")
            setattr(self._model.get_submodule(parent), name, plain)

    def _name(self, group: str, key: str) -> str:
        """Return the parameter that a tensor belongs to; the optimizer's are numbered."""
        return list(self.learned)[int(key.split(".")[0])] if group == "optimizer" else key

    def _joined(self, name: str, part: torch.Tensor) -> torch.Tensor:
        whole = self._whole.get(name)
        if whole is None or not part.ndim:
            return part
        local = part.to_local() if isinstance(part, DTensor) else part
        rows, width = len(whole), math.prod(whole.shape[1:])
        unit = -(-rows // self._ranks.size)
        owners = [(rank, max(0, min(unit, rows - rank * unit))) for rank in range(self._ranks.size)]
        flat = local.detach().reshape(len(local), width)
        return self._ranks.gather(flat, owners).view(whole.shape)

    def _part(self, name: str, whole: torch.Tensor) -> torch.Tensor:
        if name not in self._whole or not whole.ndim:
            return whole
        parts = whole.chunk(self._ranks.size)
        rank = self._ranks.rank
        return parts[rank] if rank < len(parts) else whole[:0]

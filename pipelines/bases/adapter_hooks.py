"""Hooks of diffusers with which a denoiser reads z: no class of the base is changed.

Hooks of torch could not be told from the denoiser's own work by caches of blocks, and would be
called on blocks that these skip.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from inspect import signature
from typing import Any

import torch
from diffusers.hooks import HookRegistry, ModelHook

from pipelines.bases.family import Family
from pipelines.bases.image_tokens import Block
from pipelines.core.errors import KaleidoError
from pipelines.models.adapter import ZBranch, ZRows, grid_of
from pipelines.models.denoiser.attention import Grid

NAME = "kaleido"


def is_attached(denoiser: Any) -> bool:
    """Whether an adapter is attached to a denoiser."""
    registry = getattr(denoiser, "_diffusers_hook", None)
    return registry is not None and registry.get_hook(NAME) is not None


class Attachment:
    """The branches of an adapter, attached to a denoiser.

    What the next calls read is given either by `show`, the rows of exactly these calls, or by
    `give`, for a stock pipeline: z and null, which it reads as it guides.

    Args:
        family: The denoiser's family.
        denoiser: The denoiser.
        branches: By the name of the block.

    Attributes:
        denoiser: The denoiser.
    """

    def __init__(self, family: Family, denoiser: Any, branches: Mapping[str, ZBranch]) -> None:
        self._family, self.denoiser = family, denoiser
        self._rows: ZRows | None = None
        self._guided: tuple[ZRows, ZRows] | None = None
        self._now: ZRows | None = None
        self._spans: list[slice] | None = None
        self._sides: tuple[int, int] | None = None
        self._biases: dict[tuple[Grid | None, int], torch.Tensor] = {}
        self._conditional: tuple[torch.Tensor, Any] | None = None
        self._registry = HookRegistry.check_if_exists_or_initialize(denoiser)
        self._registry.register_hook(_Call(self), NAME)
        for block in family.blocks(denoiser):
            if block.name in branches:
                hook = _Add(partial(self._add, block, branches[block.name]))
                HookRegistry.check_if_exists_or_initialize(block.module).register_hook(hook, NAME)
        self._forget_children()

    def remove(self) -> None:
        """Take the hooks away; the denoiser is as before."""
        self._registry.remove_hook(NAME, recurse=True)
        self._forget_children()

    def show(self, rows: ZRows | None, sides: tuple[int, int]) -> None:
        """Let the next calls read rows, or nothing; of pictures with these sides, in any unit."""
        self._rows, self._sides, self._guided = rows, sides, None

    def give(self, z: ZRows, null: ZRows) -> None:
        """Let a stock pipeline read z, one row per picture, until other z are given."""
        self._rows, self._guided, self._conditional = None, (z, null), None

    def before(self, called: Mapping[str, Any]) -> None:
        """Choose the rows of a call of the denoiser, and find its image tokens."""
        self._now = self._rows
        if self._guided is not None:
            self._now, self._sides = self._guided_rows(called), self._family.image_sides(called)
        self._spans = self._family.image_spans(self.denoiser, called)
        self._biases = {}

    def _guided_rows(self, called: Mapping[str, Any]) -> ZRows:
        assert self._guided is not None
        z, null = self._guided
        images = next(iter(called.values()))
        apart = self._family.null_rows == "apart"
        if len(images) == len(z.tokens):
            return null if apart and self._is_null_call(called) else z
        if apart or len(images) != 2 * len(z.tokens):
            raise KaleidoError(
                "z",
                f"{len(z.tokens)} were given, and the pipeline draws {len(images)} rows.",
                "Give one z for each picture.",
                code="bad-data",
            )
        both = (null, z) if self._family.null_rows == "first" else (z, null)
        return ZRows(*(torch.cat(parts) for parts in zip(*both, strict=True)))

    def _is_null_call(self, called: Mapping[str, Any]) -> bool:
        """Whether it is the second call of a step: at the same time, with another text."""
        time, text = called["timestep"], called["encoder_hidden_states"]
        before, self._conditional = self._conditional, (time, text)
        if before is None or not torch.equal(before[0], time) or before[1] is text:
            return False
        self._conditional = None
        return True

    def _add(self, block: Block, branch: ZBranch, output: Any) -> Any:
        if self._now is None:
            return output
        if block.place is not None:
            parts = list(output)
            parts[block.place] = self._added(branch, parts[block.place])
            return tuple(parts)
        if self._spans is None:
            return self._added(branch, output)
        if all(span == self._spans[0] for span in self._spans):
            return self._added_within(branch, output, self._spans[0])
        rows = [
            self._added_within(branch, output[at : at + 1], span, at)
            for at, span in enumerate(self._spans)
        ]
        return torch.cat(rows)

    def _added(self, branch: ZBranch, image: torch.Tensor, row: int | None = None) -> torch.Tensor:
        """Return image tokens with what a branch reads; of one row, or of all."""
        assert self._now is not None
        key = grid_of(image.shape[1], self._sides), branch.heads
        if key not in self._biases:  # blocks of one resolution share it
            self._biases[key] = self._now.bias(*key).to(branch.query.weight.dtype)
        z, bias = self._now, self._biases[key]
        if row is not None:
            z, bias = z.row(row), bias[row : row + 1]
        return image + branch(image, z, bias)

    def _added_within(
        self, branch: ZBranch, output: torch.Tensor, span: slice, row: int | None = None
    ) -> torch.Tensor:
        changed = self._added(branch, output[:, span], row)
        return torch.cat([output[:, : span.start], changed, output[:, span.stop :]], 1)

    def _forget_children(self) -> None:
        """Let diffusers, whose newer versions keep a list, find the changed hooks."""
        getattr(self._registry, "invalidate_child_registries_cache", lambda: None)()


class _Call(ModelHook):
    """Tells an attachment of every call of the denoiser."""

    def __init__(self, attachment: Attachment) -> None:
        super().__init__()
        self._attachment = attachment

    def pre_forward(self, module: Any, *args: Any, **kwargs: Any) -> tuple[Any, Any]:
        bound = signature(type(module).forward).bind(module, *args, **kwargs)
        bound.apply_defaults()
        called = dict(bound.arguments)
        del called["self"]
        self._attachment.before(called)
        return args, kwargs


class _Add(ModelHook):
    """Adds to what a block returns; it belongs to one denoiser, and is not copied with it."""

    def __init__(self, add: Any) -> None:
        super().__init__()
        self._add = add

    def __deepcopy__(self, memo: Any) -> Any:
        raise KaleidoError(
            "the adapter",
            "a copy of a denoiser that it is attached to would call the original's blocks.",
            "Call adapter.detach() first.",
        )

    def post_forward(self, module: Any, output: Any) -> Any:
        return self._add(output)

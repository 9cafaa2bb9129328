"""Trade time and memory of a model's blocks: gradient checkpointing, and compilation."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from pipelines.train.options import TrainOptions


@contextmanager
def prepared_blocks(
    blocks: Sequence[nn.Module],
    options: TrainOptions,
    forward_pass: Callable[[], AbstractContextManager[None]] = nullcontext,
) -> Iterator[None]:
    """Let blocks compute as the options say, until the context is left.

    With gradient checkpointing a block keeps its inputs alone and computes the rest again in the
    backward pass (arXiv 1604.06174). transformers' own switch works in training mode only, and
    after `prior.dropout_steps` the prior trains in evaluation mode.

    Args:
        blocks: Modules that are called one after the other. Their parameters keep their names.
        options: The run's options.
        forward_pass: The context of forward passes, to enter it again where they are repeated:
            torch restores precisions there, but not the choice of an attention kernel.
    """

    def contexts() -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
        return nullcontext(), forward_pass()

    before = [vars(block).get("forward") for block in blocks]
    for block in blocks:
        forward = block.forward
        if options.compile == "on":
            forward = torch.compile(forward)
        if options.gradient_checkpointing == "on":
            forward = partial(checkpoint, forward, use_reentrant=False, context_fn=contexts)
        block.forward = forward
    try:
        yield
    finally:
        for block, hooked in zip(blocks, before, strict=True):
            del block.forward  # the class's own is there again
            if hooked is not None:
                block.forward = hooked

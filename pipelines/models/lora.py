"""Low-rank adapters (LoRA, arXiv 2106.09685) on a pretrained prior's decoder."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import torch
from torch import nn

from pipelines.core.errors import KaleidoError
from pipelines.core.extras import import_extra
from pipelines.models.prior import Prior

if TYPE_CHECKING:
    from peft.tuners.tuners_utils import BaseTunerLayer

TARGETS = ("q", "k", "v", "o", "wi", "wi_0", "wi_1", "wo")
"""T5's linear layers, of attention and feed-forward."""

ALPHA = 2.0
"""Scale of an adapter's product, times its rank."""


def add_adapters(prior: Prior, rank: int) -> None:
    """Freeze a prior but for adapters in its decoder and the rows of z's tokens.

    At first an adapter's product is zero, so the prior computes what it did.

    Args:
        prior: A pretrained one, with a frozen encoder. It is changed.
        rank: Of the adapters.

    Raises:
        KaleidoError: If peft is not installed (``not-installed``), or the encoder learns.
    """
    peft = import_extra("peft", "lora")
    if not prior.encoder_frozen:
        raise KaleidoError(
            f"prior.lora_rank = {rank}",
            "adapters change a pretrained prior, but this one is trained from scratch.",
            "Set prior.pretrained, or prior.lora_rank to 0.",
            code="bad-setting",
        )
    decoder, model = prior.model.get_decoder(), prior.model
    model.requires_grad_(False)
    present = {name.rpartition(".")[2] for name, _ in decoder.named_modules()}
    config = peft.LoraConfig(
        r=rank, lora_alpha=ALPHA * rank, target_modules=[t for t in TARGETS if t in present]
    )
    peft.inject_adapter_in_model(config, decoder)  # it freezes all else in the decoder
    model.shared.requires_grad_(True)
    if model.lm_head.weight is not model.shared.weight:
        model.lm_head.requires_grad_(True)
        prior.learn_new_rows(model.lm_head.weight)


@torch.no_grad()
def merge_adapters(prior: Prior) -> None:
    """Add the adapters to the weights that they adapt, and remove them.

    A merged prior is a plain T5: it loads and draws without peft, at the same speed.
    """
    for parent, name, layer in list(_adapted(prior.model.get_decoder())):
        layer.merge()
        setattr(parent, name, layer.get_base_layer())


def _adapted(decoder: nn.Module) -> Iterator[tuple[nn.Module, str, BaseTunerLayer]]:
    from peft.tuners.tuners_utils import BaseTunerLayer

    for parent in decoder.modules():
        for name, child in parent.named_children():
            if isinstance(child, BaseTunerLayer):
                yield parent, name, child

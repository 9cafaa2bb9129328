"""How long and how fast to train."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Any

from pipelines.workspace.settings import (
    AdapterSettings,
    DiffusionSettings,
    JointSettings,
    PriorSettings,
    TokenizerSettings,
    TrainSettings,
)

LENGTHS = ("steps", "decoder_steps")
"""Settings that only say how long to train."""

LEARNING = ("clip", "optimizer")
"""Settings of ``[train]`` on which the weights depend; the others change roundings at most."""

Section = TokenizerSettings | PriorSettings | DiffusionSettings | JointSettings | AdapterSettings


@dataclass(frozen=True)
class TrainOptions:
    """Options of the training loop.

    Attributes:
        steps: Optimizer steps in all.
        batch_size: Examples in a step.
        learning_rate: Peak learning rate of AdamW.
        warmup: Steps of linear warm-up.
        cooldown: Share of all steps, at the end, over which the rate falls linearly to zero.
        ema: Decay of the exponential moving average of the weights, reached after a ramp.
        weight_decay: Of AdamW, on all parameters.
        clip: Largest norm of the gradient.
        seed: Source of all randomness.
        precision: ``auto``, ``bf16`` or ``fp32``, of the forward pass.
        micro_batch: Examples that are computed at a time; 0 for an equal share of each process.
        optimizer: ``adamw``, or ``adamw8bit`` of bitsandbytes.
        gradient_checkpointing: ``on`` computes activations again in place of keeping them.
        compile: ``on`` compiles the blocks of the network.
        validate_every: Steps between two losses on held-out records; 0 for never.
        preview_every: Steps between two sheets of pictures; 0 for never.
        track: A tracker of experiments, or empty.
        fsdp: ``on`` divides the weights of blocks among the ranks.
    """

    steps: int
    batch_size: int
    learning_rate: float
    warmup: int
    seed: int
    cooldown: float = 0.4
    ema: float = 0.999
    weight_decay: float = 0.0
    clip: float = 1.0
    precision: str = "fp32"
    micro_batch: int = 0
    optimizer: str = "adamw"
    gradient_checkpointing: str = "off"
    compile: str = "off"
    validate_every: int = 0
    preview_every: int = 0
    track: str = ""
    fsdp: str = "off"

    @classmethod
    def of(cls, settings: Section, how: TrainSettings) -> TrainOptions:
        """Take the options from a model's section of the settings and from ``[train]``, by name."""
        given = asdict(how) | asdict(settings)
        return cls(**{f.name: given[f.name] for f in fields(cls) if f.name in given})

    def rate(self, step: int) -> float:
        """Return the learning rate of a step, counted from 0."""
        rising = (step + 1) / max(self.warmup, 1)
        falling = (self.steps - step) / max(self.cooldown * self.steps, 1.0)
        return self.learning_rate * max(0.0, min(1.0, rising, falling))


def weight_settings(settings: Section, how: TrainSettings) -> dict[str, Any]:
    """Return the settings on which the weights depend: all but `LENGTHS`.

    A run can be made longer, so its length does not tell one run from another.

    Args:
        settings: The model's section.
        how: Of these, values other than the defaults; older checkpoints lack them.
    """
    kept = {key: value for key, value in asdict(settings).items() if key not in LENGTHS}
    given, usual = asdict(how), asdict(TrainSettings())
    return kept | {f"train.{key}": given[key] for key in LEARNING if given[key] != usual[key]}

"""The interface of a family: all that is particular to a class of diffusers pipelines.

A family encodes prompts, converts pictures to latents and back, and calls the denoiser. Everything
else (guidance, noise, batches, z) is the same for all families. Latents are (n, channels, height,
width) outside of a family, whatever the denoiser packs them into.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch

from pipelines.bases.clip import CLIP_TOKENS, count_tokens
from pipelines.bases.image_tokens import Block
from pipelines.core.errors import KaleidoError

Condition = dict[str, Any]
"""What a denoiser reads of a prompt: name -> a tensor, or a list, with a row per picture."""


class Family(ABC):
    """A class of diffusers pipelines.

    Attributes:
        name: ``sdxl``.
        title: Name for people.
        pipelines: Names of the classes in diffusers.
        denoiser: Name of the component that denoises.
        predicts: ``noise`` of a diffusion with discrete timesteps, or the ``velocity`` (noise minus
            clean latents) of a flow.
        cfg: Usual guidance scale.
        steps: Usual number of steps.
        few_steps: Usual number of steps of a distilled model.
        side: Usual side of a picture in pixels, where the configuration does not say.
        multiple: Both sides of a picture must be multiples of this.
        text_limit: Tokens of a prompt that are read.
        long_prompts: What becomes of a prompt that CLIP does not read at once; empty without CLIP.
        tokenizer: Name of the tokenizer that counts them.
        dialect: Format in which z becomes the prompt: ``words`` or the name of a JSON dialect.
        licence: Usual licence of published weights.
        null_rows: Where the pipeline's own guidance has the rows of the null condition: ``first``
            or ``last`` in one call, or ``apart``, in a second call.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    pipelines: ClassVar[tuple[str, ...]]
    denoiser: ClassVar[str] = "transformer"
    predicts: ClassVar[str] = "velocity"
    cfg: ClassVar[float]
    steps: ClassVar[int]
    few_steps: ClassVar[int] = 4
    side: ClassVar[int] = 1024
    multiple: ClassVar[int] = 16
    text_limit: ClassVar[int]
    long_prompts: ClassVar[str] = ""
    tokenizer: ClassVar[str] = "tokenizer"
    dialect: ClassVar[str] = "words"
    licence: ClassVar[str]
    null_rows: ClassVar[str] = "first"

    @abstractmethod
    def encode(self, pipe: Any, prompts: Sequence[str]) -> Condition:
        """Encode prompts, one row each."""

    @abstractmethod
    def null(self, pipe: Any, negative: str | None) -> Condition:
        """Encode the condition that guidance leads away from, as a single row.

        Args:
            pipe: The pipeline.
            negative: A negative prompt, or None for the usual null condition. Either goes the way
                of the pipeline's own negative prompts, which some families encode in another way
                than prompts.
        """

    @abstractmethod
    def blank(self, pipe: Any, count: int, like: torch.Tensor) -> Condition:
        """Return a condition of the usual shape without a meaning, for estimates of memory.

        Args:
            pipe: The pipeline; its networks may be on the meta device.
            count: Rows.
            like: Its device and precision are taken.
        """

    @abstractmethod
    def latent_shape(self, pipe: Any, height: int, width: int) -> tuple[int, int, int]:
        """Return channels, height and width of the latents of a picture of this size in pixels."""

    @abstractmethod
    def to_latents(self, pipe: Any, pixels: torch.Tensor) -> torch.Tensor:
        """Encode pictures, (n, 3, height, width) in [-1, 1], to normalised clean latents.

        The mode of the autoencoder's distribution is taken, so the result does not vary.
        """

    @abstractmethod
    def to_pixels(self, pipe: Any, latents: torch.Tensor) -> torch.Tensor:
        """Decode normalised latents to pictures, (n, 3, height, width), about in [-1, 1]."""

    @abstractmethod
    def predict(
        self, pipe: Any, x: torch.Tensor, time: torch.Tensor, condition: Condition
    ) -> torch.Tensor:
        """Call the denoiser.

        Args:
            pipe: The pipeline.
            x: Noisy latents, (n, channels, height, width).
            time: (n,): the timestep, 0 to 999, if noise is predicted, or else the noise level σ.
            condition: n rows.

        Returns:
            The noise or the velocity, the shape of `x`.
        """

    def blocks(self, denoiser: Any) -> list[Block]:
        """Return the main blocks of the denoiser; none for a family that has no adapters."""
        return []

    def image_spans(self, denoiser: Any, called: Mapping[str, Any]) -> list[slice] | None:
        """Return where each row's image tokens are in tensors that hold text as well.

        Args:
            denoiser: The denoiser.
            called: The arguments of its call, by name.

        Returns:
            A slice per row; None if no block returns such a tensor.
        """
        return None

    def image_sides(self, called: Mapping[str, Any]) -> tuple[int, int] | None:
        """Return height and width of the pictures of a call, in any unit.

        Args:
            called: The arguments of the denoiser's call, by name.

        Returns:
            None if they are not told.
        """
        images = next(iter(called.values()))
        return (images.shape[-2], images.shape[-1]) if images.dim() == 4 else None

    def default_side(self, pipe: Any) -> int:
        """Return the side of a picture in pixels for which the weights were made."""
        size = getattr(pipe, self.denoiser).config.get("sample_size")
        return int(size * pipe.vae_scale_factor) if isinstance(size, int) else self.side

    def timesteps(self, pipe: Any, steps: int, shape: Sequence[int]) -> torch.Tensor:
        """Set the scheduler to a number of steps.

        Args:
            pipe: The pipeline.
            steps: Number of steps.
            shape: Of the latents; several families shift the noise levels with the size.

        Returns:
            The scheduler's timesteps, descending; their number may exceed `steps`.
        """
        pipe.scheduler.set_timesteps(steps, device=pipe._execution_device)
        return pipe.scheduler.timesteps

    def rescale(self, guided: torch.Tensor, conditional: torch.Tensor) -> torch.Tensor:
        """Change a guided prediction in the way of the pipeline; most change nothing."""
        return guided

    def template(self, pipe: Any, prompt: str) -> str:
        """Return the text that is tokenized for a prompt."""
        return prompt

    def length(self, pipe: Any, prompt: str) -> int:
        """Count the tokens of a prompt, those of a template included."""
        return count_tokens(getattr(pipe, self.tokenizer), self.template(pipe, prompt))

    def require_whole(self, pipe: Any, prompts: Sequence[str]) -> None:
        """Refuse prompts in JSON whose end would not be read: half a document says something else.

        Raises:
            KaleidoError: If a prompt has more tokens than `text_limit`.
        """
        longest = max(self.length(pipe, prompt) for prompt in prompts)
        if longest > self.text_limit:
            raise KaleidoError(
                "prompt",
                f"it has {longest:,} tokens, and {self.title} reads {self.text_limit:,}.",
                "Leave elements out of z.",
                code="bad-data",
            )

    def is_long(self, pipe: Any, prompt: str) -> bool:
        """Whether `long_prompts` tells what becomes of a prompt."""
        return bool(self.long_prompts) and count_tokens(pipe.tokenizer, prompt) > CLIP_TOKENS

    def distilled(self, config: Mapping[str, Any], denoiser: Mapping[str, Any], name: str) -> str:
        """Say how a model was distilled; empty if nothing shows that it was.

        Guidance has no effect, or a bad one, on such a model, and it cannot be trained further.

        Args:
            config: ``model_index.json``.
            denoiser: ``config.json`` of the denoiser.
            name: Folder or name on the hub.
        """
        return distilled_by_name(name)

    def steps_if_distilled(self, denoiser: Mapping[str, Any]) -> int:
        """Return the usual number of steps of a distilled model, given its denoiser's config."""
        return self.few_steps


_DISTILLED = (
    *("turbo", "lightning", "schnell", "sprint", "lcm", "hyper", "dmd", "flash", "distill"),
    *("4step", "4-step", "8step", "8-step"),
)
"""Parts of names by which distilled models go: most configurations do not say it."""


def distilled_by_name(name: str) -> str:
    """Say that a model's name names a distillation; empty if it does not."""
    last = name.rstrip("/").rsplit("/", 1)[-1].lower()
    found = [part for part in _DISTILLED if part in last]
    return f"its name says {found[0]!r}" if found else ""


def rows(condition: Condition) -> int:
    """Count the rows of a condition."""
    return len(next(iter(condition.values())))


def repeat(condition: Condition, count: int) -> Condition:
    """Repeat the only row of a condition."""
    return {
        name: value * count if isinstance(value, list) else value.repeat_interleave(count, dim=0)
        for name, value in condition.items()
    }


def set_shifted(pipe: Any, steps: int, tokens: int, mu: float | None = None) -> torch.Tensor:
    """Set a flow's scheduler to evenly spaced noise levels, shifted as its configuration says.

    The levels are given, as diffusers changed the defaults of pipelines between versions.

    Args:
        pipe: The pipeline.
        steps: Number of steps.
        tokens: Image tokens, on which the shift depends.
        mu: Exponential shift; None takes the usual line between two sizes.
    """
    from diffusers.pipelines.flux.pipeline_flux import calculate_shift

    config = pipe.scheduler.config
    if mu is None:
        mu = calculate_shift(
            tokens,
            config.get("base_image_seq_len", 256),
            config.get("max_image_seq_len", 4096),
            config.get("base_shift", 0.5),
            config.get("max_shift", 1.15),
        )
    even = torch.linspace(1.0, 1.0 / steps, steps, dtype=torch.float64).numpy()
    pipe.scheduler.set_timesteps(sigmas=even, mu=mu, device=pipe._execution_device)
    return pipe.scheduler.timesteps


def sides_of(places: torch.Tensor) -> tuple[int, int]:
    """Return the rows and columns of image tokens.

    Args:
        places: (..., tokens, 3 or 4), of which entries 1 and 2 are a token's row and column.
    """
    rows, columns = (int(places[..., axis].max()) + 1 for axis in (1, 2))
    return rows, columns


def patchify(x: torch.Tensor) -> torch.Tensor:
    """Pack 2 x 2 patches into tokens, their channels by (channel, row, column) (FLUX.1, Qwen).

    Args:
        x: (n, c, h, w).

    Returns:
        (n, h · w / 4, 4 c).
    """
    n, c, h, w = x.shape
    patches = x.view(n, c, h // 2, 2, w // 2, 2).permute(0, 2, 4, 1, 3, 5)
    return patches.reshape(n, h * w // 4, c * 4)


def unpatchify(tokens: torch.Tensor, height: int, width: int) -> torch.Tensor:
    """Invert `patchify`."""
    n, _, c = tokens.shape
    patches = tokens.view(n, height // 2, width // 2, c // 4, 2, 2).permute(0, 3, 1, 4, 2, 5)
    return patches.reshape(n, c // 4, height, width)

"""Schedulers of diffusers for our own models, by name or as objects."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from inspect import signature
from pathlib import Path
from typing import Any

import diffusers
import torch

from pipelines.core.errors import KaleidoError
from pipelines.models.diffusion import Diffusion
from pipelines.models.hub import read_config
from pipelines.sample.integrate import OWN_SAMPLERS, OnStep, Predict

_VARIANCE_PRESERVING = (
    "DDIMParallelScheduler",
    "DDIMScheduler",
    "DDPMParallelScheduler",
    "DDPMScheduler",
)
"""Schedulers whose noise levels can be those of our path, rescaled; see `_trained_betas`."""

_STRAIGHT = ("LTXEulerAncestralRFScheduler",)
"""Schedulers of the straight path that neither their name nor an option tells."""

_REFUSED = {
    "DPMSolverMultistepInverseScheduler": "it leads from images to noise.",
    "FlowMatchLCMScheduler": "it needs a model that was distilled for consistency.",
    "HeliosDMDScheduler": "it needs a model that was distilled for it.",
    "HeliosScheduler": "it draws in stages of other sizes.",
}

_FORCED = {
    "use_flow_sigmas": True,
    "prediction_type": "flow_prediction",
    "use_dynamic_shifting": False,
    "use_karras_sigmas": False,
    "use_exponential_sigmas": False,
    "use_beta_sigmas": False,
    "use_lu_lambdas": False,
    "final_sigmas_type": "zero",
    "invert_sigmas": False,
    "shift_terminal": None,
    "lower_order_final": True,
    "thresholding": False,
}
"""What a scheduler of the straight path must be, whatever its configuration says."""

_FORCED_PRESERVING = {
    "prediction_type": "sample",
    "timestep_spacing": "trailing",
    "rescale_betas_zero_snr": False,
    "set_alpha_to_one": True,
    "clip_sample": False,
    "thresholding": False,
    "variance_type": "fixed_small",
    "steps_offset": 0,
}

SCHEDULER_FILE = "scheduler_config.json"

FINEST = 1000
"""Noise levels that a variance-preserving scheduler distinguishes, about."""


@dataclass(frozen=True)
class Solver:
    """A scheduler that is set to our path and to a number of steps.

    Attributes:
        scheduler: The scheduler.
        levels: The noise level σ of each call, and 0.
        scales: Factor between the scheduler's images and ours at each of these levels, all 1 on
            the straight path.
        straight: It integrates the velocity; otherwise it takes clean images.
        stalls: Its last step leads nowhere, and leaves noise in the image: a fault of DEIS and
            SA-Solver on the straight path. The last prediction is taken instead.
    """

    scheduler: Any
    levels: torch.Tensor
    scales: torch.Tensor
    straight: bool
    stalls: bool = False

    def integrate(
        self,
        predict: Predict,
        noise: torch.Tensor,
        generators: Sequence[torch.Generator],
        on_step: OnStep | None = None,
    ) -> torch.Tensor:
        """Draw images from noise.

        Args:
            predict: The guided model.
            noise: (n, channels, height, width), standard normal.
            generators: One per image, on the CPU, for a scheduler that adds noise.
            on_step: As for `draw_images`.
        """
        scheduler, x = self.scheduler, noise
        options: dict[str, Any] = {}
        if "generator" in signature(scheduler.step).parameters:
            options["generator"] = list(generators)
        for number, time in enumerate(scheduler.timesteps[: len(self.levels) - 1]):
            level = self.levels[number]
            seen = x / self.scales[number].item()
            clean = predict(seen, level)
            given = (seen - clean) / level.item() if self.straight else clean
            if self.stalls and number == len(self.levels) - 2:
                x = clean
            else:
                with _quietly():
                    x = scheduler.step(given, time, x, return_dict=False, **options)[0]
            if on_step is not None:
                scale = self.scales[number + 1].item()
                x = on_step(number, level, x / scale) * scale
        return x


def known_schedulers() -> list[str]:
    """Name the schedulers of the installed diffusers that our models can be drawn with."""
    return [name for name in dir(diffusers) if name.endswith("Scheduler") and _knows(name)]


def find_scheduler(name: str) -> type[Any]:
    """Return a class of schedulers by its name.

    Raises:
        KaleidoError: If the installed diffusers has none, or our models cannot be drawn with it.
    """
    found = getattr(diffusers, name, None) if name.endswith("Scheduler") else None
    if found is None:
        why = f"it is neither our own nor a scheduler of diffusers {diffusers.__version__}."
        raise KaleidoError(f"sampler {name!r}", why, f"Known: {_all_known()}.", code="bad-setting")
    require_scheduler(found)
    return found


def require_scheduler(kind: type[Any]) -> None:
    """Refuse a class of schedulers that our models cannot be drawn with.

    Raises:
        KaleidoError: With the reason.
    """
    name = kind.__name__
    if getattr(diffusers, name, None) is not kind:
        why = "it is no scheduler of the installed diffusers."
    elif _knows(name):
        return
    else:
        why = _REFUSED.get(name, "it has no noise levels of the straight path from noise to image.")
    raise KaleidoError(f"sampler {name!r}", why, f"Known: {_all_known()}.", code="bad-setting")


def _all_known() -> str:
    return ", ".join((*OWN_SAMPLERS, *known_schedulers()))


def load_scheduler(folder: Path) -> Any:
    """Load what a scheduler's ``save_pretrained`` wrote; None without such a folder.

    Raises:
        KaleidoError: If its class is not known, or the file is damaged.
    """
    if not folder.is_dir():
        return None  # a pipeline of an older version
    config = read_config(folder, "a scheduler", SCHEDULER_FILE)
    return find_scheduler(str(config.get("_class_name"))).from_config(config)


def _knows(name: str) -> bool:
    if name in _REFUSED:
        return False
    if name in (*_VARIANCE_PRESERVING, *_STRAIGHT) or name.startswith("FlowMatch"):
        return True
    return "use_flow_sigmas" in signature(getattr(diffusers, name).__init__).parameters


def usual_scheduler(model: Diffusion) -> Any:
    """Return diffusers' form of our default sampler, Euler's method on the model's levels."""
    return diffusers.FlowMatchEulerDiscreteScheduler(shift=model.noise_shift)


def is_usual(scheduler: Any, model: Diffusion) -> bool:
    """Whether a scheduler is Euler's method, which our own sampler integrates."""
    usual = usual_scheduler(model)
    return type(scheduler) is type(usual) and _options(scheduler) == _options(usual)


@contextmanager
def _quietly() -> Iterator[None]:
    """Silence Python's warnings about diffusers' own code."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _options(scheduler: Any) -> dict[str, Any]:
    return {key: value for key, value in scheduler.config.items() if not key.startswith("_")}


def set_up(scheduler: Any, shift: Callable[[torch.Tensor], torch.Tensor], steps: int) -> Solver:
    """Set a scheduler to our path: its levels, and what is predicted, are the model's.

    Args:
        scheduler: A scheduler, of which all other options are kept, or a class.
        shift: See `Diffusion.shift`.
        steps: Steps; methods of second order call the model about twice in each.

    Raises:
        KaleidoError: If our models cannot be drawn with it.
    """
    kind = scheduler if isinstance(scheduler, type) else type(scheduler)
    require_scheduler(kind)
    config = {} if isinstance(scheduler, type) else _options(scheduler)
    form = _preserving if kind.__name__ in _VARIANCE_PRESERVING else _straight
    with _quietly():
        return form(kind, config, shift, steps)


def _straight(
    kind: type[Any],
    config: dict[str, Any],
    shift: Callable[[torch.Tensor], torch.Tensor],
    steps: int,
) -> Solver:
    even = torch.linspace(1.0, 0.0, steps + 1)
    factor = float(shift(torch.tensor(0.5)) / (1.0 - shift(torch.tensor(0.5))))
    made = _make(kind, config, _FORCED | {"shift": factor, "flow_shift": factor})
    if kind.__name__ in _STRAIGHT:
        made.set_timesteps(sigmas=shift(even).tolist())
    elif issubclass(kind, diffusers.FlowMatchEulerDiscreteScheduler):
        made.set_timesteps(steps, sigmas=even[:-1].tolist())
    else:
        made.set_timesteps(steps)
    made.set_begin_index(0)
    levels = made.sigmas.float()[: len(made.timesteps) + 1].cpu()
    calls = int(levels[:-1].count_nonzero())
    stalls, levels = bool(levels[calls] > 0), levels[: calls + 1]
    levels[-1] = 0.0
    return Solver(made, levels, torch.ones_like(levels), True, stalls)


def _preserving(
    kind: type[Any],
    config: dict[str, Any],
    shift: Callable[[torch.Tensor], torch.Tensor],
    steps: int,
) -> Solver:
    """Set up a scheduler whose images are √ᾱ x + √(1 − ᾱ) ε: ours, rescaled.

    With √(1 − ᾱ) / (√ᾱ + √(1 − ᾱ)) = σ both have one ratio of noise to image, so the model sees
    what it was trained on. Every ᾱ is given by the betas; their number is a multiple of the steps,
    so that no step is rounded.
    """
    count = steps * max(1, round(FINEST / steps))
    fine = shift(torch.linspace(0.0, 1.0, count + 1, dtype=torch.float64))
    share = (1.0 - fine) ** 2 / ((1.0 - fine) ** 2 + fine**2)
    betas = 1.0 - share[1:] / share[:-1]
    forced = _FORCED_PRESERVING | {"num_train_timesteps": count, "trained_betas": betas.tolist()}
    made = _make(kind, config, forced)
    made.set_timesteps(steps)
    every = count // steps
    levels, shares = fine.flip(0)[::every].float(), share.flip(0)[::every]
    scales = shares.sqrt() + (1.0 - shares).sqrt()
    return Solver(made, levels, scales, straight=False)


def _make(kind: type[Any], config: dict[str, Any], forced: dict[str, Any]) -> Any:
    names = signature(kind.__init__).parameters
    chosen = config | forced
    return kind(**{name: value for name, value in chosen.items() if name in names})

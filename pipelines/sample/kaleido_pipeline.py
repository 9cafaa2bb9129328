"""Our own models as a pipeline of diffusers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from diffusers import DiffusionPipeline
from diffusers.utils import BaseOutput
from PIL import Image

from pipelines.core.errors import KaleidoError
from pipelines.documents.document import Document
from pipelines.documents.projection import z_of
from pipelines.latents.sequence import z_to_text
from pipelines.models.conditioning import Conditioner, Conditioning
from pipelines.models.denoiser.network import KaleidoTransformer2DModel
from pipelines.models.diffusion import TIME_SCALE, Diffusion
from pipelines.models.hub import model_folder
from pipelines.models.prior import Prior
from pipelines.models.registry import READER
from pipelines.sample.bundle import Bundle, pair
from pipelines.sample.draw import (
    canonical_z,
    condition_on,
    draw_batch,
    draw_z_each,
    encode_caption,
)
from pipelines.sample.integrate import OnStep
from pipelines.sample.schedulers import (
    is_usual,
    load_scheduler,
    require_scheduler,
    usual_scheduler,
)
from pipelines.sample.seeds import seeds_of
from pipelines.sample.speed import require_ways
from pipelines.workspace.settings import SampleSettings

OUTPUTS = ("pil", "np", "pt")

StepCallback = Callable[[Any, int, torch.Tensor, dict[str, torch.Tensor]], dict[str, torch.Tensor]]
"""Receives the pipeline, a step's number, its timestep and ``{"latents": …}``, as in diffusers."""

_DEFAULTS = SampleSettings()


@dataclass
class KaleidoPipelineOutput(BaseOutput):
    """What a call returns.

    Attributes:
        images: PIL images, or an array (n, height, width, 3) or tensor (n, 3, height, width) in
            [0, 1].
        z: z of each image as text; empty texts for a baseline.
    """

    images: list[Image.Image] | np.ndarray | torch.Tensor
    z: list[str]


class KaleidoPipeline(DiffusionPipeline):
    """Draws z of a caption, then the picture that z describes.

    ``pipe("two circles and a star", num_images_per_prompt=16, guidance_scale=7.5)`` returns images
    and z. With ``generator=torch.Generator().manual_seed(7)`` the images are those of
    `kaleido sample --seed 7`. It is loaded by this class, not by ``DiffusionPipeline``, and never
    runs code of a repository.

    ``pipe.scheduler = UniPCMultistepScheduler.from_config(pipe.scheduler.config)`` changes the
    sampler. Noise levels are the model's own with every scheduler, whatever shift it declares.

    Args:
        bundle: Prior and diffusion model, see `load_bundle`.
    """

    model_cpu_offload_seq = "prior->reader->context->denoiser"
    _optional_components = ["reader"]  # noqa: RUF012 - diffusers' own name and type

    def __init__(
        self,
        prior: Any,
        tokenizer: Any,
        context: Conditioner,
        denoiser: KaleidoTransformer2DModel,
        reader: Any = None,
        scheduler: Any = None,
        bundle: Bundle | None = None,
    ) -> None:
        super().__init__()
        if bundle is None:
            raise KaleidoError("KaleidoPipeline", "it is made by from_bundle or from_pretrained.")
        self._bundle = bundle
        self.register_modules(
            prior=prior,
            tokenizer=tokenizer,
            context=context,
            denoiser=denoiser,
            reader=reader,
            scheduler=scheduler or usual_scheduler(bundle.diffusion),
        )

    @classmethod
    def from_bundle(cls, bundle: Bundle, scheduler: Any = None) -> Self:
        """Make a pipeline of loaded models, which it shares.

        Args:
            bundle: Prior and diffusion model.
            scheduler: A scheduler of diffusers; None for Euler's method.
        """
        model, prior, older = bundle.diffusion, bundle.prior, bundle.older
        parts = prior.model, prior.tokenizer, model.context, model.denoiser
        return cls(*parts, older and older.model, scheduler, bundle)

    @classmethod
    def from_pretrained(cls, name: str | Path, **options: Any) -> Self:
        """Load what `save_pretrained` wrote, from a folder or from the hub.

        Args:
            name: A folder, or a name on the Hugging Face hub.
            options: None is known; networks are loaded in fp32, onto the device of
                ``compute.device``.

        Raises:
            KaleidoError: If an option is given, there is no such folder, or it is damaged or
                unsafe.
        """
        if options:
            raise KaleidoError(
                f"from_pretrained({', '.join(options)})",
                "there is no such option.",
                "Move the pipeline afterwards: pipe.to(device).",
                code="bad-option",
            )
        folder = model_folder(str(name))
        hint = "KaleidoPipeline.save_pretrained writes one."
        diffusion = Diffusion.load(folder / "diffusion", hint)
        prior = Prior.load(folder / "prior")
        bundle = pair(prior, diffusion, str(name), folder.joinpath)
        return cls.from_bundle(bundle, load_scheduler(folder / "scheduler"))

    def save_pretrained(self, save_directory: str | Path, **options: Any) -> None:
        """Write ``model_index.json``, the scheduler, and both models as safetensors.

        Args:
            save_directory: The folder.
            options: None is known.

        Raises:
            KaleidoError: If an option is given, or the folder has files of others.
        """
        if options:
            raise KaleidoError(
                f"save_pretrained({', '.join(options)})",
                "there is no such option.",
                "Push the folder with huggingface_hub's upload_folder.",
                code="bad-option",
            )
        folder, model = Path(save_directory), self._bundle.diffusion
        self._bundle.prior.save(folder / "prior")
        if self._bundle.older is not None:
            self._bundle.older.save(folder / READER)
        model.prior = self._bundle.reader.identity  # that of the weights as they were written
        model.save(folder / "diffusion")
        self.scheduler.save_pretrained(folder / "scheduler")
        self.save_config(folder)

    def __call__(
        self,
        prompt: str | Sequence[str],
        num_images_per_prompt: int = 1,
        guidance_scale: float = _DEFAULTS.cfg,
        num_inference_steps: int = _DEFAULTS.steps,
        z: Sequence[str | Document] | None = None,
        z_kinds: Sequence[str] | None = None,
        generator: torch.Generator | None = None,
        negative_prompt: str | None = None,
        output_type: str = "pil",
        return_dict: bool = True,
        callback_on_step_end: StepCallback | None = None,
        guidance_begin: float = _DEFAULTS.cfg_begin,
        guidance_end: float = _DEFAULTS.cfg_end,
        batch_size: int = _DEFAULTS.batch_size,
        speed: Sequence[str] = _DEFAULTS.speed,
    ) -> KaleidoPipelineOutput | tuple[Any, list[str]]:
        """Draw images of captions.

        Args:
            prompt: A caption, or several.
            num_images_per_prompt: Images of each caption, each with a z of its own.
            guidance_scale: Scale of classifier-free guidance; 1 is none.
            num_inference_steps: Steps of the sampler.
            z: One z per image, as text or document, in place of drawn ones; of one caption.
            z_kinds: Kinds of z to draw; None for the model's usual ones.
            generator: Its seed is that of the samples, and a second call goes on from the first;
                None takes a seed from torch's global generator.
            negative_prompt: What guidance leads away from, with a z of its own per image.
            output_type: ``pil``, ``np`` or ``pt``.
            return_dict: Return an output object instead of images and z.
            callback_on_step_end: Called after every step of a batch; images go on from the
                ``latents`` that it returns.
            guidance_begin: Noise level, 0 to 1, above which nothing is guided.
            guidance_end: Noise level below which nothing is guided.
            batch_size: Images drawn together; they do not depend on it.
            speed: Faster ways that round differently, ``channels-last``, ``bf16`` or ``compile``,
                as `kaleido doctor --bench` chooses them.

        Raises:
            KaleidoError: If an argument or the scheduler has no meaning for the model, or z is not
                valid.
        """
        if output_type not in OUTPUTS:
            known = f"Known: {', '.join(OUTPUTS)}."
            raise KaleidoError(f"output_type {output_type!r}", "it is unknown.", known)
        captions = [prompt] if isinstance(prompt, str) else list(prompt)
        bundle = self._bundle if z_kinds is None else self._bundle.drawing(z_kinds)
        settings = SampleSettings(
            n=num_images_per_prompt,
            cfg=guidance_scale,
            cfg_begin=guidance_begin,
            cfg_end=guidance_end,
            steps=num_inference_steps,
            seed=_next_seed(generator),
            batch_size=batch_size,
            speed=require_ways(speed),
        )
        scheduler = self._chosen_scheduler()
        images: list[np.ndarray] = []
        texts: list[str] = []
        on_step = None if callback_on_step_end is None else self._on_step(callback_on_step_end)
        for caption, drawn in _z_of_each(bundle, captions, z, settings):
            texts += drawn
            images += _draw(bundle, caption, drawn, settings, negative_prompt, on_step, scheduler)
        found = _as_type(np.stack(images), output_type)
        return KaleidoPipelineOutput(found, texts) if return_dict else (found, texts)

    def _chosen_scheduler(self) -> Any:
        """Return the scheduler, or None for the usual one, as the command draws."""
        if is_usual(self.scheduler, self._bundle.diffusion):
            return None
        require_scheduler(type(self.scheduler))
        return self.scheduler

    def _on_step(self, callback: StepCallback) -> OnStep:
        def call(step: int, level: torch.Tensor, images: torch.Tensor) -> torch.Tensor:
            returned = callback(self, step, level * TIME_SCALE, {"latents": images})
            return returned.get("latents", images)

        return call


def _next_seed(generator: torch.Generator | None) -> int:
    """Take the seed of a fresh generator, or draw one from a used one, and use it once.

    So the first call has the seed that a user gave, and the next one other images.
    """
    if generator is None:
        return int(torch.randint(2**62, ()))
    seed = generator.initial_seed()
    fresh = torch.Generator(generator.device).manual_seed(seed)
    is_fresh = torch.equal(fresh.get_state(), generator.get_state())
    drawn = int(torch.randint(2**62, (), generator=generator, device=generator.device))
    return seed if is_fresh else drawn


def _z_of_each(
    bundle: Bundle,
    captions: Sequence[str],
    given: Sequence[str | Document] | None,
    settings: SampleSettings,
) -> Iterator[tuple[str, list[str]]]:
    """Return each caption with its z as text."""
    if given is None:
        for caption, drawn in draw_z_each(
            bundle.prior, captions, bundle.z_kinds, settings, settings.n
        ):
            yield caption, [each.text for each in drawn]
        return
    if len(captions) != 1:
        raise KaleidoError("z", "it is given for one caption at a time.", code="bad-option")
    kinds = bundle.diffusion.z_kinds
    texts = [z_to_text(z_of(z, kinds)[0]) if isinstance(z, Document) else z for z in given]
    yield captions[0], [canonical_z(bundle, text, index) for index, text in enumerate(texts)]


def _draw(
    bundle: Bundle,
    caption: str,
    texts: Sequence[str],
    settings: SampleSettings,
    negative_prompt: str | None,
    on_step: OnStep | None,
    scheduler: Any,
) -> Iterator[np.ndarray]:
    """Draw an image of each z, in batches."""
    encoded = encode_caption(bundle.reader, caption)
    seeds = seeds_of(settings, "noise", caption, range(len(texts)))
    away = _negative(bundle, negative_prompt, settings, len(texts))
    for start in range(0, len(texts), settings.batch_size):
        chunk = slice(start, start + settings.batch_size)
        yield from draw_batch(
            bundle, encoded, texts[chunk], seeds[chunk], settings, away(chunk), on_step, scheduler
        )


def _negative(
    bundle: Bundle, prompt: str | None, settings: SampleSettings, count: int
) -> Callable[[slice], Conditioning | None]:
    """Return what gives the conditions of a negative prompt for a part of the images."""
    if prompt is None:
        return lambda chunk: None
    [(_, drawn)] = draw_z_each(bundle.prior, [prompt], bundle.z_kinds, settings, count)
    encoded = encode_caption(bundle.reader, prompt)
    texts = [each.text for each in drawn]
    return lambda chunk: condition_on(bundle, encoded, texts[chunk])


def _as_type(pixels: np.ndarray, output_type: str) -> Any:
    if output_type == "pil":
        return [Image.fromarray(each) for each in pixels]
    values = pixels.astype(np.float32) / 255.0
    return values if output_type == "np" else torch.from_numpy(values).permute(0, 3, 1, 2)

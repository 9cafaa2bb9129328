"""Train p(x|z,c) with flow matching (L_DM of the paper), conditioned on a frozen prior's states."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import NamedTuple, Self

import torch
from torch import nn
from torch.nn.functional import avg_pool2d

from pipelines.core.errors import KaleidoError
from pipelines.core.progress import SILENT, Progress
from pipelines.core.seeds import derive
from pipelines.latents.sequence import z_to_text
from pipelines.models.caption_encoder import drop_encoder
from pipelines.models.denoiser.attention import Grid
from pipelines.models.denoiser.nested import scaled_level
from pipelines.models.diffusion import (
    NESTED,
    Diffusion,
    build_diffusion,
    unrecorded_noise_shift,
    weights_id,
)
from pipelines.models.latent_space import AutoencoderRef, LatentSpace, chosen_autoencoder
from pipelines.models.prior import Prior
from pipelines.models.shapes import write_shape
from pipelines.models.word_loss import WordTarget, word_loss, word_target
from pipelines.models.z_tokens import ZTokens
from pipelines.train.captions import caption_states, read_states, use_stored_states
from pipelines.train.loop import TrainSummary, train
from pipelines.train.noise import Noise
from pipelines.train.options import TrainOptions, weight_settings
from pipelines.train.pictures import open_stream, read_pictures
from pipelines.train.prior_task import z_text
from pipelines.train.processes import writing
from pipelines.train.sharding import shardable
from pipelines.train.stream import RecordStream
from pipelines.train.stream_task import StreamTask
from pipelines.train.z_noise import with_noise
from pipelines.workspace.inputs import training_kinds
from pipelines.workspace.settings import DiffusionSettings
from pipelines.workspace.workspace import Workspace

SHOWN = 4
"""Number of captions that are drawn while training."""

Preview = Callable[[Prior, Diffusion, Sequence[str], Path], None]

MIN_SIGMA = 0.05
"""Lower bound of σ in the loss weight 1/σ, which diverges at 0."""


class Batch(NamedTuple):
    """The records of a training step.

    Attributes:
        images: (n, 3, height, width), in [-1, 1], or image latents; all of one shape.
        caption_ids: c, (n, length).
        caption_mask: bool (n, length).
        z: The kinds of z that condition the model; None for a baseline.
        known: The whole z of each record, the targets of the word loss; None without that loss.
        states: Of the captions, (n, length, width); None if they are to be computed.
    """

    images: torch.Tensor
    caption_ids: torch.Tensor
    caption_mask: torch.Tensor
    z: ZTokens | None
    known: ZTokens | None
    states: torch.Tensor | None = None


class DiffusionTask(StreamTask):
    """The denoiser's task for the training loop: the loss of drawing, and that of words.

    Args:
        model: Conditioner and denoiser; without kinds of z, a baseline p(x|c).
        prior: The frozen prior, which encodes c with its encoder and z with its decoder.
        stream: The training records.
        drop_condition: Probability that c and z are dropped together.
        noise_draws: Number of noise levels drawn per record.
        naming_weight: Weight of the word loss, see `pipelines.models.word_loss`.
        seed: The run's seed.
        through_prior: Whether gradients reach the prior, which then is not frozen.
        z_noise: Largest amount of noise on z, see `with_noise`.
    """

    terms = 2

    def __init__(
        self,
        model: Diffusion,
        prior: Prior,
        stream: RecordStream,
        drop_condition: float,
        noise_draws: int,
        naming_weight: float,
        seed: int,
        through_prior: bool = False,
        z_noise: float = 0.0,
    ) -> None:
        super().__init__(stream)
        self.model, self._prior = model, prior
        self._words = prior.model.get_input_embeddings()
        self._drop, self._draws, self._seed = drop_condition, noise_draws, seed
        self._naming_weight, self._through_prior = naming_weight, through_prior
        self._z_noise = z_noise

    def to(self, device: torch.device) -> None:
        """Move the model and the frozen prior to a device."""
        super().to(device)
        self._prior.model.to(device)

    def blocks(self) -> list[nn.Module]:
        """Return the blocks of the conditioner and the denoiser."""
        return self.model.blocks()

    def shards(self) -> list[nn.Module]:
        """Return the parts of the denoiser's blocks that can be divided."""
        return shardable(self.blocks())

    def held_out(self) -> tuple[Self, int]:
        """Return the task on held-out records with z as they are, and their number."""
        view, size = super().held_out()
        view._z_noise = 0.0
        return view, size

    def batch(self, start: int, count: int) -> Batch:
        """Make a batch of `count` records of the stream from `start` on."""
        encoded = self.model.space is not None
        images, records = read_pictures(self._stream, self._seed, start, count, encoded)
        z = known = None
        if self.model.z_kinds:
            labels = self._prior.labels
            noisy, noise = with_noise(records, start, self._z_noise, self._seed, labels)
            z = self._prior.read_z(
                [
                    z_text(record, self.model.z_kinds, self._seed, start + index)
                    for index, record in enumerate(noisy)
                ]
            )._replace(noise=noise)
        if self._naming_weight:
            known = self._prior.read_z([z_to_text(record.latents) for record in records])
        captions = self._prior.tokenize([record.caption for record in records])
        states = read_states(self._stream, start, captions[1])
        return Batch(images, *captions, z, known, states)

    def weigh(self, batch: Batch, count: int) -> tuple[float, ...]:
        """Return the number of records, and of those whose z names something: see `word_loss`."""
        if batch.known is None:
            return (float(count), 0.0)
        return (float(count), float(batch.known.names.any(-1).sum()))

    def loss(self, batch: Batch, noise: Noise) -> torch.Tensor:
        """Compute the velocity loss of the prediction x̂, plus the word loss of the patches.

        With x_σ = (1 − σ) x + σ ε, the velocity is ε − x = (x_σ − x) / σ, so its error is the error
        of x̂ divided by σ (flow matching, arXiv 2210.02747; in this form arXiv 2511.13720, eq. 6).
        The squared error is weighted by σ √(1 − σ), because otherwise levels near pure noise, whose
        error is mostly irreducible, dominate the gradient. The error after training was close to
        1 / (σ (1 − σ)); a weight that equalises this, as learned by EDM2 (arXiv 2312.02696, eq.
        16), left too little weight for levels above 0.7, which decide the shapes.
        """
        images = batch.images
        with torch.set_grad_enabled(self._through_prior and torch.is_grad_enabled()):
            ids, mask = batch.caption_ids, batch.caption_mask
            caption = caption_states(self._prior, ids, mask, batch.states)
            z = None if batch.z is None else self._prior.z_states(caption, batch.z)
        drop = noise.uniform() < self._drop
        context = self.model.context(caption, z, drop)
        prepared = self.model.prepare(context, images).repeat(self._draws)
        images = images.repeat(self._draws, 1, 1, 1)
        sigma = self.model.shift(noise.levels(self._draws).flatten())
        drawn = noise.normal(self._draws, *images.shape[1:]).transpose(0, 1).flatten(0, 1)
        level = sigma[:, None, None, None]
        noisy = (1.0 - level) * images + level * drawn
        scales, predicted = self.model.predict_with_words(noisy, sigma, prepared)
        drawing = drawing_error(scales, images, sigma)
        if batch.known is None:
            return torch.stack([drawing, torch.zeros_like(drawing)])
        target = self._word_target(batch.known, self.model.grid(images)).repeat(self._draws)
        words = word_loss(predicted, target, self._words(target.words).detach())
        return torch.stack([drawing, self._naming_weight * words])

    def _word_target(self, z: ZTokens, grid: Grid) -> WordTarget:
        nothing = self._prior.model.config.eos_token_id
        return word_target(z.ids, z.rects, z.names, nothing, grid)


def drawing_error(
    scales: Sequence[torch.Tensor], images: torch.Tensor, sigma: torch.Tensor
) -> torch.Tensor:
    """Compute the weighted error of x̂, summed over the resolutions that are predicted.

    Each has the weight of its own noise level, and all count alike (as in arXiv 2310.15111).

    Args:
        scales: x̂ of each resolution, the full one first.
        images: x, (n, channels, height, width).
        sigma: Noise levels at the full resolution, (n,).
    """
    errors = []
    for clean in scales:
        ratio = images.shape[-1] // clean.shape[-1]
        level = scaled_level(sigma, ratio)[:, None, None, None]
        weight = (1.0 - level).sqrt() / level.clamp(min=MIN_SIGMA)
        target = images if ratio == 1 else avg_pool2d(images, ratio)
        errors.append((weight * (clean - target).square()).mean())
    return torch.stack(errors).sum()


def train_diffusion(
    workspace: Workspace,
    baseline: bool = False,
    restart: bool = False,
    progress: Progress = SILENT,
    preview: Preview | None = None,
) -> TrainSummary:
    """Train ``models/diffusion`` or ``models/baseline`` with the settings of ``[diffusion]``.

    Args:
        workspace: A workspace with data, latents and a trained prior.
        baseline: Train p(x|c), the same network without z, on the same images.
        restart: Discard an unfinished run instead of resuming it.
        progress: Receives progress and messages.
        preview: Draws captions with the prior and the model as it is, into a file, every
            ``train.preview_every`` steps.

    Raises:
        InputMissing: If data, latents or the prior are missing.
        KaleidoError: If an unfinished run has other settings, the prior lacks a kind or was trained
            on the tokens of another visual tokenizer, or ``pretrained`` has other sizes.
    """
    settings = workspace.settings.diffusion
    name = "baseline" if baseline else "diffusion"
    ref = chosen_autoencoder(settings) if settings.space == "latents" else None
    prior = Prior.load(workspace.models("prior"))
    chosen = training_kinds(workspace, settings.z_kinds, prior.z_kinds)
    settings = replace(settings, z_kinds=chosen)
    kinds = () if baseline else _known_kinds(settings.z_kinds, prior)
    checkpoint = workspace.logs / name / "checkpoint"
    with writing(workspace, name, [checkpoint], restart) as ranks:
        progress = ranks.listener(progress)
        # The baseline trains on the records with z, in the same order.
        stream = open_stream(workspace, settings, ref, progress)
        _check_codebook(prior, stream)
        if use_stored_states(workspace, stream, prior, progress) and preview is None:
            drop_encoder(prior)
        model = fresh_model(settings, stream, prior, kinds, ref)
        task = DiffusionTask(
            model,
            prior,
            stream,
            settings.drop_condition,
            settings.noise_draws,
            settings.naming_weight,
            settings.seed,
            z_noise=settings.z_noise,
        )
        kept = weight_settings(settings, workspace.settings.train) | {
            "prior": prior.identity,
            "data": stream.identity,
        }
        kept["noise_shift"] = model.noise_shift
        # None for squares of pixels: so it is in checkpoints of before there was anything else.
        square = model.shapes == ((model.image_size, model.image_size),)
        kept["shapes"] = None if square else [write_shape(shape) for shape in model.shapes]
        kept["autoencoder"] = None if ref is None else ref.identity
        del kept["aspect"], kept["space"]
        if not settings.z_noise:  # absent from checkpoints of versions without this setting
            del kept["z_noise"]
        if settings.architecture == "transformer":  # likewise
            for key in ("architecture", *NESTED):
                del kept[key]
        if model.noise_shift == unrecorded_noise_shift(model.image_size):
            del kept["noise_shift"]  # absent from checkpoints of versions without this setting
        if settings.pretrained:  # identified by its weights, not by its path
            kept["pretrained"] = weights_id(Path(settings.pretrained))
        options = TrainOptions.of(settings, workspace.settings.train)
        sheet = None
        if preview is not None:
            sheet = partial(preview, prior, model, _shown_captions(stream))
        summary = train(task, options, checkpoint, kept, name, progress, sheet)
        model.images_seen += summary.images_seen
        if ranks.first:
            model.save(workspace.models(name))
    return summary


def _shown_captions(stream: RecordStream) -> list[str]:
    """Return the first held-out captions, or those of training if none is held out."""
    view = stream.held_out_view()
    records = (view if view.size else stream).batch(0, min(view.size or stream.size, 16))
    return list(dict.fromkeys(record.caption for record in records))[:SHOWN]


def _check_codebook(prior: Prior, stream: RecordStream) -> None:
    # Priors of older versions do not record the visual tokenizer of their data.
    if stream.codebook and prior.codebook and stream.codebook != prior.codebook:
        raise KaleidoError(
            "tokens",
            "the prior was trained on those of another visual tokenizer, with another codebook.",
            "Run `kaleido train prior` again, or `kaleido extract tokens` with the old tokenizer.",
            code="model-mismatch",
        )


def _known_kinds(asked: Sequence[str], prior: Prior) -> tuple[str, ...]:
    """Return the requested kinds that the prior draws, without kinds that its data did not have."""
    unknown = [kind for kind in asked if kind not in prior.z_kinds + prior.absent_kinds]
    if unknown:
        raise KaleidoError(
            ", ".join(unknown),
            f"the prior was trained only on {', '.join(prior.z_kinds)}.",
            "Choose among these with --z, or train the prior again.",
            code="model-mismatch",
        )
    return tuple(kind for kind in prior.z_kinds if kind in asked)


def fresh_model(
    settings: DiffusionSettings,
    stream: RecordStream,
    prior: Prior,
    kinds: Sequence[str],
    ref: AutoencoderRef | None,
) -> Diffusion:
    """Build a denoiser for a prior and the stream's shapes, or go on from a pretrained one."""
    space = None if ref is None else LatentSpace.load(ref.folder, ref.identity)
    torch.manual_seed(derive(settings.seed, "diffusion weights"))
    model = build_diffusion(settings, prior, kinds, space)
    model.shapes = stream.shapes
    if settings.pretrained:
        trained = Diffusion.load(
            Path(settings.pretrained), "Set diffusion.pretrained to a diffusion model's folder."
        )
        _go_on_from(trained, model, settings.pretrained)
        if not settings.noise_shift:
            model.noise_shift = trained.noise_shift
    return model


def _go_on_from(trained: Diffusion, model: Diffusion, name: str) -> None:
    """Load the weights of a trained model, whose kinds and prior may differ.

    One that was not told of noise on z has no weights for that, and begins with those of `model`.
    """
    learns_noise = model.context.noise_token is not None and trained.context.noise_token is None
    found = trained.config
    if learns_noise:
        found["context"]["z_noise"] = True
    if found != model.config:
        raise KaleidoError(
            f"diffusion.pretrained = {name!r}",
            f"the model has other sizes: {trained.config}, where the settings require "
            f"{model.config}.",
            "Set the same sizes under [diffusion], or train from scratch.",
            code="model-mismatch",
        )
    if [space and space.identity for space in (trained.space, model.space)].count(None) == 1 or (
        trained.space and model.space and trained.space.identity != model.space.identity
    ):
        raise KaleidoError(
            f"diffusion.pretrained = {name!r}",
            "the model draws in another space, of another autoencoder or in pixels.",
            "Set diffusion.space and diffusion.autoencoder to its own.",
            code="model-mismatch",
        )
    missing = {"context.noise_token": model.context.noise_token} if learns_noise else {}
    model.load_state_dict({**trained.state_dict(), **missing})
    model.images_seen = trained.images_seen
    if model.z_kinds == trained.z_kinds:
        model.drawn_kinds = trained.drawn_kinds

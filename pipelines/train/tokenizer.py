"""Train the visual tokenizer: reconstruction, commitment, and revival of dead codebook entries."""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from pipelines.core.errors import KaleidoError
from pipelines.core.images import decode_image
from pipelines.core.progress import SILENT, Progress
from pipelines.core.record import Record
from pipelines.core.seeds import derive
from pipelines.models.pixels import to_tensor
from pipelines.models.tokenizer import Tokenizer, build_tokenizer
from pipelines.train.checkpoint import drop_checkpoint, load_state
from pipelines.train.loop import TrainSummary, train
from pipelines.train.noise import Noise
from pipelines.train.options import TrainOptions, weight_settings
from pipelines.train.processes import writing
from pipelines.train.ranks import ALONE, Ranks
from pipelines.train.stream import RecordStream
from pipelines.train.task import Task
from pipelines.workspace.settings import TokenizerSettings, TrainSettings
from pipelines.workspace.workspace import Workspace

COMMITMENT = 0.25
"""Weight β of the commitment loss (arXiv 1711.00937, eq. 3)."""

DECAY = 0.99
"""Decay of the codebook's moving averages (arXiv 1711.00937, appendix A.1): about 100 steps."""

WHOLE, DECODER = "tokenizer", "tokenizer-decoder"
"""Log folders of the two training phases."""

DECODER_RATE = 0.5
"""Factor of the learning rate in the decoder-only phase."""

DEAD = 0.1
"""An entry is dead if it is chosen less often than this fraction of a uniform share."""

MEASURED = 512
"""Number of pictures on which a trained tokenizer is measured."""


class Trainee(nn.Module):
    """The checkpointed module: the network, and how often each entry is chosen.

    The codebook is a parameter without a gradient: its entries are moving averages.

    Attributes:
        share: (codebook_size,), the moving share of tokens that chose each entry.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        super().__init__()
        self.network = tokenizer.model
        self.register_buffer("share", torch.zeros(tokenizer.codebook_size))
        self.share: torch.Tensor

    @property
    def dead(self) -> torch.Tensor:
        """Return which entries are dead, see `DEAD`: bool (codebook_size,)."""
        return self.share < DEAD / len(self.share)

    @torch.no_grad()
    def revive(self, vectors: torch.Tensor, rng: torch.Generator) -> None:
        """Move dead entries to vectors that are far from every live entry.

        Vectors are chosen one after the other with probabilities proportional to the squared
        distance to the nearest live entry (k-means++, Arthur and Vassilvitskii 2007). In the first
        step every entry is dead, so this also initialises the codebook.

        Args:
            vectors: Output of the encoder, (m, code_dim), fp32.
            rng: The step's generator.
        """
        codebook, dead = self.network.quantize.embedding.weight, self.dead
        alive = codebook[~dead]
        weight = vectors.new_ones(len(vectors))
        if len(alive):
            weight = torch.cdist(vectors, alive).amin(1).square()
        for entry in dead.nonzero().flatten().tolist():
            # Keep the weights positive and finite; the loop reports a run that diverged.
            odds = weight.nan_to_num(1.0, 1.0) + 1e-12
            chosen = vectors[torch.multinomial(odds, 1, generator=rng)]
            weight = torch.minimum(weight, (vectors - chosen).square().sum(1))
            codebook[entry] = chosen[0]
            self.share[entry] = 1.0 / len(self.share)

    @torch.no_grad()
    def follow(self, vectors: torch.Tensor, ids: torch.Tensor, ranks: Ranks = ALONE) -> None:
        """Move entries towards the mean of the vectors that chose them.

        An entry is the moving average of the sum of these vectors over that of their number
        (arXiv 1711.00937, eq. 6 to 8).

        Args:
            vectors: (m, code_dim), fp32.
            ids: int64, (m,), the entries that the vectors chose.
            ranks: Have further vectors of the same step.
        """
        codebook = self.network.quantize.embedding.weight
        counts = ranks.sum(torch.bincount(ids, minlength=len(codebook)).to(vectors.dtype))
        total = ranks.sum(torch.zeros_like(codebook).index_add_(0, ids, vectors)) / counts.sum()
        share = counts / counts.sum()
        old = DECAY * self.share
        self.share.copy_(old + (1.0 - DECAY) * share)
        moved = (old[:, None] * codebook + (1.0 - DECAY) * total) / self.share[:, None]
        codebook.copy_(torch.where(self.share[:, None] > 0.0, moved, codebook))


class _ImageTask(Task):
    """The image batches of both training phases."""

    def __init__(self, tokenizer: Tokenizer, stream: RecordStream) -> None:
        self._tokenizer, self._stream = tokenizer, stream

    def blocks(self) -> list[nn.Module]:
        """Return the levels of encoder and decoder."""
        network = self._tokenizer.model
        return [*network.encoder.down_blocks, *network.decoder.up_blocks]

    def batch(self, start: int, count: int) -> torch.Tensor:
        """Return images in [-1, 1], (n, 3, side, side)."""
        return _images(self._stream.batch(start, count))

    def held_out(self) -> tuple[Task, int]:
        """Return the task on held-out records, and their number."""
        view = copy(self)
        view._stream = self._stream.held_out_view()
        return view, view._stream.size

    def keys(self, start: int, count: int) -> list[str]:
        """Return the keys of `count` records of the stream from `start` on."""
        return self._stream.keys(start, count)


class TokenizerTask(_ImageTask):
    """First phase: train encoder, codebook and decoder."""

    def __init__(self, tokenizer: Tokenizer, stream: RecordStream) -> None:
        super().__init__(tokenizer, stream)
        self.model: Trainee = Trainee(tokenizer)
        self._chosen: list[tuple[torch.Tensor, torch.Tensor]] = []

    def before_step(
        self,
        batches: Sequence[torch.Tensor],
        owners: Sequence[tuple[int, int]],
        noise: Noise,
        ranks: Ranks,
    ) -> None:
        """Revive dead entries of the codebook, with vectors of the whole step."""
        self._chosen.clear()
        if not self.model.dead.any():
            return
        with torch.no_grad():
            vectors = [self._no_vectors()]
            vectors += [_vectors(self._tokenizer.states(batch)) for batch in batches]
        rows = [(rank, count * self._tokenizer.grid**2) for rank, count in owners]
        self.model.revive(ranks.gather(torch.cat(vectors), rows), noise.generator)

    def loss(self, batch: torch.Tensor, noise: Noise) -> torch.Tensor:
        """Compute the reconstruction and edge error plus the commitment loss.

        The decoder reads codebook entries, while its gradient passes to the encoder's vectors
        unchanged (straight-through estimator, arXiv 1711.00937, section 3.2).
        """
        states = self._tokenizer.states(batch)
        ids = self._tokenizer.quantize(states)
        with torch.no_grad():
            entries = self._tokenizer.entries(ids)
        drawn = self._tokenizer.pictures(states + (entries - states).detach())
        commitment = (states - entries).square().mean()
        if torch.is_grad_enabled():  # not in validation
            self._chosen.append((_vectors(states), ids.flatten()))
        return reconstruction_error(drawn, batch) + COMMITMENT * commitment

    def after_step(self, ranks: Ranks) -> None:
        """Move the codebook towards the vectors of the step's losses."""
        vectors = [self._no_vectors(), *(vectors for vectors, _ in self._chosen)]
        ids = [torch.empty(0, dtype=torch.int64, device=self.model.share.device)]
        ids += [chosen for _, chosen in self._chosen]
        self.model.follow(torch.cat(vectors), torch.cat(ids), ranks)

    def _no_vectors(self) -> torch.Tensor:
        """Return the vectors of a rank without records, (0, code_dim)."""
        return torch.empty_like(self.model.network.quantize.embedding.weight[:0])


class DecoderTask(_ImageTask):
    """Second phase: train only the decoder, on fixed codes.

    In the first phase the decoder had to follow a moving codebook. Ids keep their meaning.
    """

    def __init__(self, tokenizer: Tokenizer, stream: RecordStream) -> None:
        super().__init__(tokenizer, stream)
        self.model = network = tokenizer.model
        for part in (network.encoder, network.quant_conv, network.quantize):
            part.requires_grad_(False)

    def loss(self, batch: torch.Tensor, noise: Noise) -> torch.Tensor:
        """Compute the reconstruction and edge error."""
        with torch.autocast(
            batch.device.type, enabled=False
        ):  # the same ids that extraction writes
            entries = self._tokenizer.entries(self._tokenizer.encode(batch))
        return reconstruction_error(self._tokenizer.pictures(entries), batch)


def _vectors(states: torch.Tensor) -> torch.Tensor:
    """Flatten states (n, code_dim, grid, grid) to vectors (m, code_dim), without a gradient."""
    return states.detach().permute(0, 2, 3, 1).flatten(0, 2)


def reconstruction_error(drawn: torch.Tensor, images: torch.Tensor) -> torch.Tensor:
    """Compute L1 + L2 of the pixels plus L1 of neighbour differences, which keeps edges sharp.

    Args:
        drawn: (n, 3, height, width).
        images: The same shape, in [-1, 1].
    """
    error = drawn - images
    edges = error.diff(dim=2).abs().mean() + error.diff(dim=3).abs().mean()
    return error.abs().mean() + error.square().mean() + edges


@dataclass(frozen=True)
class TokenizerSummary(TrainSummary):
    """Summary of a run, with measurements on pictures that were not trained on.

    Attributes:
        measured_on: ``heldout``, or ``train`` if no record is held out.
        codebook_used: Share of codebook entries that occur, from 0 to 1.
        perplexity: Exponential of the entropy of the entries: their effective number.
        psnr: PSNR in dB, from the mean squared error over all pixels.
        psnr_objects: The same inside the objects' boxes; None if no boxes are known.
    """

    measured_on: str
    codebook_used: float
    perplexity: float
    psnr: float
    psnr_objects: float | None


def train_tokenizer(
    workspace: Workspace, restart: bool = False, progress: Progress = SILENT
) -> TokenizerSummary:
    """Train ``models/tokenizer`` with the settings of ``[tokenizer]``.

    Args:
        workspace: A workspace with data; captions and latents are not used.
        restart: Discard an unfinished run instead of resuming it.
        progress: Receives progress and messages.

    Raises:
        InputMissing: If there are no data.
        KaleidoError: If an unfinished run has other settings, or the sizes do not fit.
    """
    settings = workspace.settings.tokenizer
    checkpoints = [workspace.logs / part / "checkpoint" for part in (WHOLE, DECODER)]
    with writing(workspace, "tokenizer", checkpoints, restart) as ranks:
        progress = ranks.listener(progress)
        stream = RecordStream(workspace, (), settings.seed)
        tokenizer = _fresh_tokenizer(settings, stream)
        how = workspace.settings.train
        summary = _train(tokenizer, settings, how, stream, checkpoints, ranks, progress)
        if ranks.first:
            tokenizer.save(workspace.models("tokenizer"))
        records, split = stream.held_out(MEASURED), "heldout"
        if not records:
            records, split = stream.batch(0, min(stream.size, MEASURED)), "train"
        return TokenizerSummary(**asdict(summary), measured_on=split, **measure(tokenizer, records))


def _train(
    tokenizer: Tokenizer,
    settings: TokenizerSettings,
    how: TrainSettings,
    stream: RecordStream,
    checkpoints: Sequence[Path],
    ranks: Ranks,
    progress: Progress,
) -> TrainSummary:
    """Train all parts, then only the decoder, each phase with its own checkpoint."""
    options = TrainOptions.of(settings, how)
    kept = weight_settings(settings, how) | {"data": stream.identity}
    whole, decoder = checkpoints
    first = train(TokenizerTask(tokenizer, stream), options, whole, kept, "tokenizer", progress)
    if not settings.decoder_steps:
        return first
    state = load_state(decoder)
    ranks.wait()  # all have read it
    if state is not None and state["settings"].get("tokenizer.steps") != first.steps:
        if ranks.first:
            drop_checkpoint(decoder)  # it was trained on other codes
        ranks.wait()
    kept["tokenizer.steps"] = first.steps
    rate = DECODER_RATE * settings.learning_rate
    options = replace(options, steps=settings.decoder_steps, learning_rate=rate)
    last = train(DecoderTask(tokenizer, stream), options, decoder, kept, "decoder", progress)
    return TrainSummary(
        first.steps + last.steps,
        first.images_seen + last.images_seen,
        last.loss,
        first.resumed_at + last.resumed_at,
    )


def measure(tokenizer: Tokenizer, records: Sequence[Record]) -> dict[str, Any]:
    """Measure a tokenizer on records; return the last four fields of `TokenizerSummary`."""
    uses = np.zeros(tokenizer.codebook_size, dtype=np.int64)
    errors, inside = [], []
    for start in range(0, len(records), 32):
        part = records[start : start + 32]
        images = _images(part)
        ids = tokenizer.encode(images)
        uses += np.bincount(ids.flatten().cpu().numpy(), minlength=len(uses))
        error = ((tokenizer.decode(ids).cpu() - images) / 2.0).square().mean(1).numpy()
        masks = [_boxes_mask(record, tokenizer.image_size) for record in part]
        errors.append(error.ravel())
        inside.append(error[np.stack(masks)])
    known = np.concatenate(inside)
    share = uses[uses > 0] / uses.sum()
    return {
        "codebook_used": float((uses > 0).mean()),
        "perplexity": float(np.exp(-(share * np.log(share)).sum())),
        "psnr": _psnr(np.concatenate(errors)),
        "psnr_objects": _psnr(known) if known.size else None,
    }


def _fresh_tokenizer(settings: TokenizerSettings, stream: RecordStream) -> Tokenizer:
    height, width = stream.batch(0, 1)[0].pixels.shape[:2]
    if height != width:
        raise KaleidoError(
            f"images of {width} x {height} pixels",
            "the tokenizer needs square images.",
            "Set data.image_size and write the data again.",
        )
    torch.manual_seed(derive(settings.seed, "tokenizer weights"))
    return build_tokenizer(settings, height)


def _images(records: Sequence[Record]) -> torch.Tensor:
    # `record.pixels` would keep the decoded image in memory as long as the record.
    images = [decode_image(record.image, record.key) for record in records]
    shapes = {image.shape for image in images}
    if len(shapes) > 1:
        raise KaleidoError(
            ", ".join(f"{width} x {height}" for height, width, _ in sorted(shapes)),
            "these pictures differ in shape, but training needs squares of one size.",
            'Write the data again with data.fit = "pad" or "crop".',
            "bad-data",
        )
    return to_tensor(np.stack(images))


def _boxes_mask(record: Record, side: int) -> np.ndarray:
    """Return the mask of the record's true boxes: bool (side, side)."""
    mask = np.zeros((side, side), dtype=bool)
    for item in record.meta.get("truth", {}).get("objects", ()):
        if item["box"] is not None:
            x1, y1, x2, y2 = (round(edge * side) for edge in item["box"])
            mask[y1:y2, x1:x2] = True
    return mask


def _psnr(errors: np.ndarray) -> float:
    # Floor the error at one 8-bit step per four pixels, so that a perfect copy has 54 dB.
    return float(-10.0 * np.log10(max(errors.mean(dtype=np.float64), (1 / 255) ** 2 / 4)))

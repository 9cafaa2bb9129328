"""Training the visual tokenizer: reconstruction, commitment, and a codebook that is used."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from pipelines.core.errors import KaleidoError
from pipelines.core.files import check_replaceable
from pipelines.core.images import decode_image
from pipelines.core.progress import SILENT, Progress
from pipelines.core.record import Record
from pipelines.core.seeds import derive
from pipelines.models.pixels import to_tensor
from pipelines.models.tokenizer import Tokenizer, build_tokenizer
from pipelines.train.checkpoint import drop_checkpoint, load_state
from pipelines.train.loop import TrainSummary, train
from pipelines.train.options import TrainOptions, weight_settings
from pipelines.train.processes import require_one_process
from pipelines.train.stream import RecordStream
from pipelines.train.task import Task
from pipelines.workspace.settings import TokenizerSettings
from pipelines.workspace.workspace import Workspace

COMMITMENT = 0.25
"""Weight β of the pull of the encoder towards the codebook (arXiv 1711.00937, eq. 3)."""

DECAY = 0.99
"""Of the codebook's moving averages (arXiv 1711.00937, appendix A.1): a window of 100 steps."""

WHOLE, DECODER = "tokenizer", "tokenizer-decoder"
"""Folders of the logs for the two parts of the training."""

DECODER_RATE = 0.5
"""Of the learning rate, once the decoder learns alone."""

DEAD = 0.1
"""An entry that is chosen less often than this share of an equal share is dead."""

MEASURED = 512
"""Pictures on which a trained tokenizer is measured."""


class Trainee(nn.Module):
    """What is trained and checkpointed: the network, and how often each entry is chosen.

    The codebook is a parameter without a gradient: its entries are moving averages.

    Attributes:
        share: (codebook_size,), the share of the tokens of recent steps that chose an entry.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        super().__init__()
        self.network = tokenizer.model
        self.register_buffer("share", torch.zeros(tokenizer.codebook_size))
        self.share: torch.Tensor

    @property
    def dead(self) -> torch.Tensor:
        """Which entries are dead, see `DEAD`: bool (codebook_size,)."""
        return self.share < DEAD / len(self.share)

    @torch.no_grad()
    def revive(self, vectors: torch.Tensor, rng: torch.Generator) -> None:
        """Move dead entries onto vectors that lie far from every living entry.

        They are seeded one after the other with probabilities proportional to the squared
        distance from the nearest living entry (k-means++, Arthur and Vassilvitskii 2007). At the
        first step every entry is dead, so the codebook is initialised this way too.

        Args:
            vectors: The encoder's, (m, code_dim), fp32.
            rng: The step's generator.
        """
        codebook, dead = self.network.quantize.embedding.weight, self.dead
        alive = codebook[~dead]
        weight = vectors.new_ones(len(vectors))
        if len(alive):
            weight = torch.cdist(vectors, alive).amin(1).square()
        for entry in dead.nonzero().flatten().tolist():
            # Never all zero, nor NaN: the loop reports a run that diverged.
            odds = weight.nan_to_num(1.0, 1.0) + 1e-12
            chosen = vectors[torch.multinomial(odds, 1, generator=rng)]
            weight = torch.minimum(weight, (vectors - chosen).square().sum(1))
            codebook[entry] = chosen[0]
            self.share[entry] = 1.0 / len(self.share)

    @torch.no_grad()
    def follow(self, vectors: torch.Tensor, ids: torch.Tensor) -> None:
        """Move entries towards the mean of the vectors that chose them.

        The moving average of the sum of those vectors over that of their number (arXiv
        1711.00937, eq. 6 to 8).

        Args:
            vectors: (m, code_dim), fp32.
            ids: int64, (m,), the entries that they chose.
        """
        codebook = self.network.quantize.embedding.weight
        share = torch.bincount(ids, minlength=len(codebook)) / len(ids)
        total = torch.zeros_like(codebook).index_add_(0, ids, vectors) / len(ids)
        old = DECAY * self.share
        self.share.copy_(old + (1.0 - DECAY) * share)
        moved = (old[:, None] * codebook + (1.0 - DECAY) * total) / self.share[:, None]
        codebook.copy_(torch.where(self.share[:, None] > 0.0, moved, codebook))


class _ImageTask(Task):
    """The batches of both parts of the training: images."""

    def __init__(self, tokenizer: Tokenizer, stream: RecordStream) -> None:
        self._tokenizer, self._stream = tokenizer, stream

    def batch(self, start: int, count: int) -> torch.Tensor:
        """Return images in [-1, 1], (n, 3, side, side)."""
        return _images(self._stream.batch(start, count))

    def keys(self, start: int, count: int) -> list[str]:
        """Return the keys of records `start` to ``start + count`` of the stream."""
        return self._stream.keys(start, count)


class TokenizerTask(_ImageTask):
    """Training of encoder, codebook and decoder."""

    def __init__(self, tokenizer: Tokenizer, stream: RecordStream) -> None:
        super().__init__(tokenizer, stream)
        self.model: Trainee = Trainee(tokenizer)
        self._chosen: tuple[torch.Tensor, torch.Tensor] | None = None

    def before_step(self, batch: torch.Tensor, rng: torch.Generator) -> None:
        """Revive dead entries of the codebook."""
        if self.model.dead.any():
            with torch.no_grad():
                states = self._tokenizer.states(batch)
            self.model.revive(_vectors(states), rng)

    def loss(self, batch: torch.Tensor, rng: torch.Generator) -> torch.Tensor:
        """Error of the reconstruction and of its edges, plus the commitment.

        The decoder reads codebook entries, but its gradient passes to the encoder as if they were
        the encoder's own vectors (straight-through, arXiv 1711.00937, section 3.2).
        """
        states = self._tokenizer.states(batch)
        ids = self._tokenizer.quantize(states)
        with torch.no_grad():
            entries = self._tokenizer.entries(ids)
        drawn = self._tokenizer.pictures(states + (entries - states).detach())
        commitment = (states - entries).square().mean()
        self._chosen = _vectors(states), ids.flatten()
        return reconstruction_error(drawn, batch) + COMMITMENT * commitment

    def after_step(self) -> None:
        """Move the codebook towards the vectors of the last loss."""
        if self._chosen is not None:
            self.model.follow(*self._chosen)


class DecoderTask(_ImageTask):
    """Training of the decoder alone, for codes that no longer change.

    Before, it had to follow a codebook that moved. Every id keeps its meaning.
    """

    def __init__(self, tokenizer: Tokenizer, stream: RecordStream) -> None:
        super().__init__(tokenizer, stream)
        self.model = network = tokenizer.model
        for part in (network.encoder, network.quant_conv, network.quantize):
            part.requires_grad_(False)

    def loss(self, batch: torch.Tensor, rng: torch.Generator) -> torch.Tensor:
        """Error of the reconstruction and of its edges."""
        with torch.autocast(batch.device.type, enabled=False):  # the ids that extraction writes
            entries = self._tokenizer.entries(self._tokenizer.encode(batch))
        return reconstruction_error(self._tokenizer.pictures(entries), batch)


def _vectors(states: torch.Tensor) -> torch.Tensor:
    """Flatten states (n, code_dim, grid, grid) to vectors (m, code_dim), without a gradient."""
    return states.detach().permute(0, 2, 3, 1).flatten(0, 2)


def reconstruction_error(drawn: torch.Tensor, images: torch.Tensor) -> torch.Tensor:
    """L1 + L2 of the pixels, + L1 of the differences of neighbours, which keeps edges crisp.

    Args:
        drawn: (n, 3, height, width).
        images: The same shape, in [-1, 1].
    """
    error = drawn - images
    edges = error.diff(dim=2).abs().mean() + error.diff(dim=3).abs().mean()
    return error.abs().mean() + error.square().mean() + edges


@dataclass(frozen=True)
class TokenizerSummary(TrainSummary):
    """What a run did, and what came of it on pictures that were not trained on.

    Attributes:
        measured_on: ``heldout``, or ``train`` where no record is held out.
        codebook_used: Share of the codebook's entries that occur, from 0 to 1.
        perplexity: exp of the entropy of the entries: as many, used equally, would be as diverse.
        psnr: In dB, of the mean squared error over all pixels; the range of values is the peak.
        psnr_objects: The same inside the objects' boxes; None where none are known.
    """

    measured_on: str
    codebook_used: float
    perplexity: float
    psnr: float
    psnr_objects: float | None


def train_tokenizer(
    workspace: Workspace, restart: bool = False, progress: Progress = SILENT
) -> TokenizerSummary:
    """Train ``models/tokenizer`` by the settings of ``[tokenizer]``.

    Args:
        workspace: With data; captions and latents are not looked at.
        restart: Forget an unfinished run instead of going on with it.
        progress: Listener.

    Raises:
        InputMissing: If there are no data.
        KaleidoError: If an unfinished run has other settings, or the sizes do not fit.
    """
    require_one_process("tokenizer")
    settings = workspace.settings.tokenizer
    with workspace.lock("models/tokenizer"):
        check_replaceable(workspace.models("tokenizer"))
        if restart:
            for part in (WHOLE, DECODER):
                drop_checkpoint(workspace.logs / part / "checkpoint")
        stream = RecordStream(workspace, (), settings.seed)
        tokenizer = _fresh_tokenizer(settings, stream)
        summary = _train(tokenizer, settings, stream, workspace.logs, progress)
        tokenizer.save(workspace.models("tokenizer"))
        records, split = stream.held_out(MEASURED), "heldout"
        if not records:
            records, split = stream.batch(0, min(stream.size, MEASURED)), "train"
        return TokenizerSummary(**asdict(summary), measured_on=split, **measure(tokenizer, records))


def _train(
    tokenizer: Tokenizer,
    settings: TokenizerSettings,
    stream: RecordStream,
    logs: Path,
    progress: Progress,
) -> TrainSummary:
    """Train the whole, then its decoder alone, each with a checkpoint of its own in `logs`."""
    options = TrainOptions.of(settings)
    kept = weight_settings(settings) | {"data": stream.identity}
    whole, decoder = logs / WHOLE / "checkpoint", logs / DECODER / "checkpoint"
    first = train(TokenizerTask(tokenizer, stream), options, whole, kept, "tokenizer", progress)
    if not settings.decoder_steps:
        return first
    state = load_state(decoder)
    if state is not None and state["settings"].get("tokenizer.steps") != first.steps:
        drop_checkpoint(decoder)  # it belongs to other codes
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
    """Measure a tokenizer on records: `TokenizerSummary`'s last four fields, by name."""
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
            "the tokenizer needs squares.",
            "Set data.image_size and write the data again.",
        )
    torch.manual_seed(derive(settings.seed, "tokenizer weights"))
    return build_tokenizer(settings, height)


def _images(records: Sequence[Record]) -> torch.Tensor:
    # Not `record.pixels`, which would keep the decoded image as long as the record.
    images = [decode_image(record.image, record.key) for record in records]
    shapes = {image.shape for image in images}
    if len(shapes) > 1:
        raise KaleidoError(
            ", ".join(f"{width} x {height}" for height, width, _ in sorted(shapes)),
            "these pictures have several shapes, and training reads squares of one size.",
            'Write the data again with data.fit = "pad" or "crop".',
            "bad-data",
        )
    return to_tensor(np.stack(images))


def _boxes_mask(record: Record, side: int) -> np.ndarray:
    """Where the record's true boxes lie: bool (side, side)."""
    mask = np.zeros((side, side), dtype=bool)
    for item in record.meta.get("truth", {}).get("objects", ()):
        if item["box"] is not None:
            x1, y1, x2, y2 = (round(edge * side) for edge in item["box"])
            mask[y1:y2, x1:x2] = True
    return mask


def _psnr(errors: np.ndarray) -> float:
    # One 8-bit step at every fourth pixel is the floor: a perfect copy is 54 dB, not infinite.
    return float(-10.0 * np.log10(max(errors.mean(dtype=np.float64), (1 / 255) ** 2 / 4)))

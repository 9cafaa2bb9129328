"""Train the visual tokenizer: encoder and decoder with their ids, then the decoder alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pipelines.core.errors import KaleidoError
from pipelines.core.progress import SILENT, Progress
from pipelines.core.record import Record
from pipelines.core.seeds import derive
from pipelines.models.tokenizer import FsqTokenizer, Tokenizer, build_tokenizer
from pipelines.train.checkpoint import drop_checkpoint, load_state
from pipelines.train.codebook import TokenizerTask
from pipelines.train.loop import TrainSummary, train
from pipelines.train.options import TrainOptions, weight_settings
from pipelines.train.picture_task import DecoderTask, FsqTask, ImageTask, images_of
from pipelines.train.processes import writing
from pipelines.train.ranks import Ranks
from pipelines.train.stream import RecordStream
from pipelines.workspace.settings import TokenizerSettings, TrainSettings
from pipelines.workspace.workspace import Workspace

WHOLE, DECODER = "tokenizer", "tokenizer-decoder"
"""Log folders of the two training phases."""

DECODER_RATE = 0.5
"""Factor of the learning rate in the decoder-only phase."""

MEASURED = 512
"""Number of pictures on which a trained tokenizer is measured."""


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
    if settings.quantizer == "vq":  # absent from checkpoints of versions without these settings
        del kept["quantizer"], kept["levels"]
    whole, decoder = checkpoints
    first = train(first_task(tokenizer, stream), options, whole, kept, "tokenizer", progress)
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


def first_task(tokenizer: Tokenizer, stream: RecordStream) -> ImageTask:
    """Return the first phase of a tokenizer: its encoder and decoder learn."""
    if isinstance(tokenizer, FsqTokenizer):
        return FsqTask(tokenizer, stream)
    return TokenizerTask(tokenizer, stream)


def measure(tokenizer: Tokenizer, records: Sequence[Record]) -> dict[str, Any]:
    """Measure a tokenizer on records; return the last four fields of `TokenizerSummary`."""
    uses = np.zeros(tokenizer.codebook_size, dtype=np.int64)
    errors, inside = [], []
    for start in range(0, len(records), 32):
        part = records[start : start + 32]
        images = images_of(part)
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

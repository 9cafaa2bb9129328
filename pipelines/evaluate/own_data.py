"""The protocol for any data: a named feature network, and the pictures that were held out."""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice

import numpy as np
from PIL import Image

from pipelines.core.errors import InputMissing, KaleidoError
from pipelines.core.fingerprint import fingerprint
from pipelines.core.images import open_image
from pipelines.core.progress import Progress
from pipelines.core.record import Record
from pipelines.evaluate.adherence.truth import TrueZ
from pipelines.evaluate.measure import edge_ratio, feature_distances, feature_metrics
from pipelines.evaluate.metrics.manifolds import NEIGHBOURS
from pipelines.evaluate.metrics.memorization import digest, training_pictures
from pipelines.evaluate.metrics.plain_features import SPACES
from pipelines.evaluate.metrics.self_agreement import self_agreement
from pipelines.evaluate.metrics.statistics import Estimate
from pipelines.evaluate.metrics.z_texts import text_metrics
from pipelines.evaluate.networks import PretrainedFeatures
from pipelines.evaluate.observations import Verdict
from pipelines.evaluate.observe import Inspect, Observed, Pictures, PictureSource
from pipelines.evaluate.protocol import Compared, ProtocolNotes
from pipelines.latents.base import Latent
from pipelines.latents.crop import crop_z
from pipelines.models.hub import model_folder
from pipelines.models.pixels import pixels_of, to_box
from pipelines.models.shapes import Shape, crop_region
from pipelines.sample.engine import Loadable, require_same
from pipelines.workspace.reader import latent_manifest, read_joined
from pipelines.workspace.workspace import Workspace

PLAIN_VENDI = tuple(f"vendi.{space}" for space in SPACES)


@dataclass(frozen=True)
class OwnData:
    """Choose `DataProtocol`, with the network that ``evaluate.features`` names."""

    def check(self, workspace: Workspace) -> None:
        """Require the name of a network that can be found."""
        features = workspace.settings.evaluate.features
        if not features:
            raise KaleidoError(
                "evaluate.features",
                "no feature network is named. Pictures of your own are measured in the features "
                "of a pretrained vision model; only the toy scenes have a judge of their own.",
                "Name a model of transformers by folder or name: --features facebook/dinov2-base. "
                "Or compare the embedded models: --embedded.",
                code="not-comparable",
            )
        model_folder(features)

    def open(self, compared: Compared) -> DataProtocol:
        """Load the network and read the held-out data."""
        settings = compared.workspace.settings.evaluate
        if compared.embedded:
            raise KaleidoError(
                f"evaluate.features = {settings.features!r}",
                "the embedded models draw scenes, and a judge measures those.",
                "Leave out --features, or train models of your own.",
                code="not-comparable",
            )
        network = PretrainedFeatures(settings.features)
        return DataProtocol(
            network,
            compared.workspace,
            settings.captions,
            settings.n,
            compared.truth,
            compared.progress,
        )


@dataclass(frozen=True)
class SameFeatures:
    """Loads a feature network on another machine.

    Attributes:
        given: Its folder, or its name on the Hugging Face hub.
        name: Of the driver's, which holds a hash of it.
    """

    given: str
    name: str

    def load(self, workspace: Workspace) -> Inspect:
        """Load it.

        Raises:
            KaleidoError: If it is missing, or another one than the driver's.
        """
        network = PretrainedFeatures(self.given)
        require_same(f"feature networks {self.given}", network.name, self.name)
        return lambda images, texts: (network(images), [])


class DataProtocol:
    """An `EvaluationProtocol` for the captions and pictures of a workspace.

    Most captions of real data have a single picture, so every caption gets as many real pictures
    as the scarcest one has, at most n. The second real set is made of held-out pictures of other
    captions.

    Args:
        network: The feature space.
        workspace: Holds the data.
        wanted: Most captions.
        n: Samples of a caption and seed.
        truth: Writes the z of real pictures.
        progress: Told if there are fewer captions.

    Raises:
        InputMissing: If no record is held out.
        KaleidoError: If there are too few real pictures.
    """

    real_seeds: int | None = 1

    def __init__(
        self,
        network: PretrainedFeatures,
        workspace: Workspace,
        wanted: int,
        n: int,
        truth: TrueZ,
        progress: Progress,
    ) -> None:
        self._network, self.name, self.truth = network, network.name, truth
        self.elsewhere: Loadable = SameFeatures(network.given, network.name)
        kinds = _joined_kinds(workspace, truth.kinds, progress)
        chosen, others, marks = _pictures(workspace, kinds, wanted, n)
        if not chosen:
            raise InputMissing(
                "captions",
                "the workspace has no held-out records.",
                "One in ten is; write more data.",
            )
        self.captions = self.groups = tuple(chosen)
        if len(chosen) < wanted:
            progress.message(f"The data hold out {len(chosen)} captions; {wanted} were asked for.")
        each = min(len(records) for records in chosen.values())
        self._reference = {caption: records[:each] for caption, records in chosen.items()}
        pictures = len(chosen) * each
        if pictures <= NEIGHBOURS:
            raise KaleidoError(
                "the held-out pictures",
                f"there are {pictures} for these captions, and precision and recall need "
                f"more than {NEIGHBOURS}.",
                "Use a larger --captions, or write more data: one record in ten is held out.",
            )
        self._others = _dealt(others, self.captions, each)
        self.training = training_pictures(workspace, workspace.settings.evaluate.training)
        shown = [*_flat(self._reference), *_flat(self._others)]
        self.metadata = {
            "network": network.name,
            "real": fingerprint([_identity(record) for record in shown]),
        }
        self._texts = network.texts(self.captions) if network.reads_text else None
        self.notes = ProtocolNotes(
            f"{each} held-out {'picture' if each == 1 else 'pictures'} of each caption; “real "
            "pictures” are as many others",
            f"{network.name}, {network.width} dimensions",
            "what captions ask for, but for the CLIP score, where the network reads text",
            list(self._warnings(pictures, marks)),
            parity_unknown=self._parity_unknown(pictures),
        )
        # Vendi scores and Fréchet distances depend on how many pictures there are.
        settings = workspace.settings.evaluate
        self._unlike = {"vendi", "vendi.infinity", *PLAIN_VENDI} if each != settings.n else set()
        self._unlike |= {"frechet"} if each != settings.n * len(settings.seeds) else set()

    def real(self, n: int, shape: Shape) -> dict[str, PictureSource]:
        """The held-out pictures, the same under each seed and whatever n is."""

        def of(records: dict[str, list[Record]]) -> PictureSource:
            def source(captions: Sequence[str], seed: int) -> Iterator[Pictures]:
                for caption in captions:
                    chosen = records[caption]
                    parts = [_cropped(record, shape) for record in chosen]
                    z = [self.truth.of_pixels(image, found) for image, found in parts]
                    yield z, np.stack([pixels_of(record, shape) for record in chosen])

            return source

        sets = {"reference": self._reference, "data": self._others}
        return {purpose: of(records) for purpose, records in sets.items() if records}

    def inspect(
        self, images: np.ndarray, texts: Sequence[str] = ()
    ) -> tuple[np.ndarray, list[Verdict]]:
        """Compute the network's features; it judges nothing."""
        return self._network(images), []

    def measure(self, seen: Observed, reference: Observed) -> dict[str, Estimate]:
        """Compute all metrics that need no judge."""
        return (
            feature_distances(seen, reference, self._texts)
            | feature_metrics(seen, reference, self._texts)
            | text_metrics(seen)
            | self_agreement(seen)
        )

    def measure_real(self, data: Observed | None, reference: Observed) -> dict[str, Estimate]:
        """Compare both real sets; metrics of single captions use the captions' own pictures.

        Metrics that depend on the number of pictures are left out where the models draw more:
        they could not be compared.
        """
        values = feature_metrics(reference, reference, self._texts) | self_agreement(reference)
        del values["edges"]  # over those of the same pictures
        if data is not None:
            values |= feature_distances(data, reference, self._texts)
            values["edges"] = edge_ratio(data, reference)
        return {name: value for name, value in values.items() if name not in self._unlike}

    def _parity_unknown(self, pictures: int) -> str:
        width = self._network.width
        if pictures >= 2 * width:
            return ""
        return (
            "without a judge parity is told by the Fréchet distance, which is nearly the same for "
            f"any two models with {pictures} real pictures in {width} dimensions. It takes "
            f"{2 * width}: a larger evaluate.captions, more held-out data, or a network of fewer "
            "dimensions."
        )

    def _warnings(self, pictures: int, training: array[int]) -> Iterator[str]:
        width = self._network.width
        if pictures <= width:
            yield (
                f"The Fréchet distance is far too high for both models: it compares covariances "
                f"of {width} dimensions, and {pictures} real pictures cannot tell them. Trust the "
                "kernel distance, which has no such bias."
            )
        if not self._others:
            yield (
                "Too few pictures are held out for a second real set, so it is not known how far "
                "real pictures lie from each other."
            )
        reference = {_mark(record) for record in _flat(self._reference)}
        seen = sum(mark in reference for mark in training)
        if seen:
            yield (
                f"{seen} of the training pictures are also among the real pictures that the models "
                "are measured against: a model that copies would be praised. `kaleido data check` "
                "finds them."
            )


def _joined_kinds(
    workspace: Workspace, wanted: Sequence[str], progress: Progress
) -> tuple[str, ...]:
    """Return the kinds of z whose latents are there and up to date for all of the data."""
    kinds = []
    for kind in wanted:
        try:
            for shard in workspace.data_shards():
                latent_manifest(workspace, shard, kind)
            kinds.append(kind)
        except InputMissing as missing:
            progress.message(f"z of real pictures have no {kind}: {missing.why} {missing.hint}")
    return tuple(kinds)


def _identity(record: Record) -> list[object]:
    """Return what decides how a real picture and its z look."""
    texts = {kind: latent.to_text() for kind, latent in record.latents.items()}
    return [record.key, digest(record), *([texts] if texts else [])]


def _pictures(
    workspace: Workspace, kinds: Sequence[str], wanted: int, n: int
) -> tuple[dict[str, list[Record]], list[Record], array[int]]:
    """Read the data once, with latents; the first of several records of one held-out image counts.

    Returns:
        The first `wanted` held-out captions with up to n records each, other held-out records, and
        the mark of each training record: 8 bytes are all that is kept of it.
    """
    chosen: dict[str, list[Record]] = {}
    others: list[Record] = []
    training, seen = array("Q"), set[int]()
    shards = workspace.data_shards()
    for record in chain.from_iterable(read_joined(workspace, shard, kinds) for shard in shards):
        mark = _mark(record)
        if not record.heldout:
            training.append(mark)
            continue
        if mark in seen:  # the same image under another caption
            continue
        seen.add(mark)
        records = chosen.get(record.caption)
        if records is None and len(chosen) < wanted:
            records = chosen.setdefault(record.caption, [])
        if records is not None and len(records) < n:
            records.append(record)
        elif len(others) < wanted * n:
            others.append(record)
    return chosen, others, training


def _mark(record: Record) -> int:
    """64 bits of the hash of a record's image; others share them once in 10¹⁹ times."""
    return int(digest(record)[:16], 16)


def _dealt(
    records: Sequence[Record], captions: Sequence[str], each: int
) -> dict[str, list[Record]]:
    """Deal records out to captions, which need not be theirs; none if they do not suffice."""
    if len(records) < len(captions) * each:
        return {}
    left = iter(records)
    return {caption: list(islice(left, each)) for caption in captions}


def _flat(groups: dict[str, list[Record]]) -> list[Record]:
    return [record for records in groups.values() for record in records]


def _cropped(record: Record, shape: Shape) -> tuple[Image.Image, dict[str, Latent]]:
    """Return the part of a picture that is compared, at its own resolution, and its latents."""
    image = open_image(record.image, record.key)
    region = crop_region(image.size, shape)
    left, top, right, bottom = map(round, to_box(region, image))
    return image.crop((left, top, right, bottom)), crop_z(record.latents, region)

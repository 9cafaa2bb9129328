"""The settings and models of a workspace that stages are built from."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from pipelines.core.errors import KaleidoError
from pipelines.embedded.paths import embedded_path
from pipelines.extract.detection import Detector
from pipelines.extract.detectors.base import DetectorRef
from pipelines.extract.detectors.find import find_detector
from pipelines.extract.detectors.server import find_on_server
from pipelines.models.registry import shipped_model, tokenizer_folder
from pipelines.servers.access import Access, access_to
from pipelines.workspace.settings import ExtractSettings
from pipelines.workspace.source import holds_scenes
from pipelines.workspace.workspace import Workspace

SCENES = "scenes"
"""The name of the shipped detector, which knows the toy world's seven shapes only."""


@dataclass(frozen=True)
class StageContext:
    """What stages are built from: settings, trained models, and the detector that stages share.

    Attributes:
        workspace: The workspace.
        trust_weights: Load a detector's checkpoint even if that may run code.
    """

    workspace: Workspace
    trust_weights: bool = False

    @property
    def settings(self) -> ExtractSettings:
        """The ``[extract]`` settings."""
        return self.workspace.settings.extract

    @property
    def tokenizer(self) -> Path:
        """The folder of the visual tokenizer, where the settings name no other."""
        return tokenizer_folder(self.workspace)

    @property
    def captioner(self) -> Path | None:
        """The folder of the shipped captioner, or None if it does not know the data."""
        return shipped_model(self.workspace, "captioner")

    def access(self, address: str, model: str) -> Access:
        """Choose a model on a server, see `access_to`."""
        several = self.settings.workers > 1 or self.settings.engine != "local"
        return access_to(self.workspace, address, model, several)

    @cached_property
    def detector(self) -> Detector:
        """The detector of the settings; for scenes, by default the shipped one.

        Raises:
            KaleidoError: If the settings name none and the data are not scenes, or there is no such
                model.
        """
        name, settings = self.settings.boxes_model, self.settings
        if settings.boxes_server:
            access = self.access(settings.boxes_server, name)
            return self.with_thresholds(
                find_on_server(access, settings.boxes_dialect, settings.boxes_find)
            )
        if not name and not holds_scenes(self.workspace):
            raise no_detector()
        if not name or is_shipped(name):
            return self.shipped_detector
        return self.with_thresholds(
            find_detector(name, self.settings.boxes_find, self.trust_weights)
        )

    @cached_property
    def shipped_detector(self) -> Detector:
        """The detector of scenes that is shipped."""
        folder = str(embedded_path("detector"))
        return self.with_thresholds(find_detector(folder, self.settings.boxes_find))

    def with_thresholds(self, ref: DetectorRef) -> Detector:
        """Return a detector with the thresholds of the settings."""
        return Detector(ref, self.settings.boxes_confidence, self.settings.boxes_max)


def is_shipped(name: str) -> bool:
    """Whether a name is that of the shipped detector, and no folder goes by it."""
    return name == SCENES and not Path(name).exists()


def no_detector() -> KaleidoError:
    """Return the error for data that need a detector where none is named."""
    return KaleidoError(
        "--model",
        "no detector is named, and the shipped one knows only the shapes of the toy world.",
        "Name one: PekingU/rtdetr_v2_r50vd (boxes of everyday objects), "
        "google/owlv2-base-patch16-ensemble (boxes of the objects in each caption), "
        "Qwen/Qwen2.5-VL-3B-Instruct (likewise), "
        "facebook/mask2former-swin-tiny-coco-instance (boxes and blobs), your own folder or .pt "
        f"file, or {SCENES} if these are pictures of simple shapes. `kaleido extract palette` "
        "needs no model.",
        code="bad-option",
    )

"""`kaleido export`: our models as one folder that `KaleidoPipeline` loads, with its card."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path

from pipelines.core.errors import KaleidoError
from pipelines.core.files import METADATA, atomic_write, replacing_folder
from pipelines.core.fingerprint import fingerprint
from pipelines.models.diffusion import weights_id
from pipelines.models.metadata import read_metadata, write_metadata
from pipelines.models.registry import sampling_source
from pipelines.sample.bundle import Bundle, load_bundle
from pipelines.sample.card import CARD, Facts, data_facts, model_card
from pipelines.sample.kaleido_pipeline import KaleidoPipeline
from pipelines.workspace.workspace import Workspace

REPLACED = ("prior/*", "diffusion/*", "scheduler/*")
"""Files of an older export that a push removes from a repository."""

MADE_BY = "kaleido export"
"""The value of ``made_by`` in an exported folder's metadata."""


@dataclass(frozen=True)
class ExportedModels:
    """What lies in the folder.

    Attributes:
        folder: Where.
        model: ``kaleido`` or ``baseline``.
        source: ``workspace`` or ``embedded``.
        licence: SPDX expression of the weights; empty if nobody has stated one.
        bytes: Size of all files.
        equal: The folder held just this already, and was left as it is.
    """

    folder: Path
    model: str
    source: str
    licence: str
    bytes: int
    equal: bool


def export_models(
    workspace: Workspace,
    folder: Path,
    baseline: bool = False,
    licence: str = "",
    overwrite: bool = False,
) -> ExportedModels:
    """Write prior, diffusion model, scheduler and card as one folder.

    Args:
        workspace: Its models, or the embedded ones if it has none.
        folder: A new or empty folder, or one of an earlier export: of the same models it is left
            as it is.
        baseline: Export the model without z.
        licence: SPDX expression of the weights; by default that of embedded models is known.
        overwrite: Replace an earlier export of other models. Files of others in the folder stay.

    Raises:
        KaleidoError: If the folder holds another export and `overwrite` is not set, or files of
            others.
        InputMissing: If the workspace has models, but not both that are needed.
    """
    bundle = load_bundle(workspace, baseline)
    licence = licence or _known_licence(bundle)
    facts = _facts(workspace, bundle, licence)
    metadata = _metadata(workspace, bundle, facts)
    equal = _check(folder, metadata, overwrite)
    if not equal:
        with replacing_folder(folder) as fresh:
            KaleidoPipeline.from_bundle(bundle).save_pretrained(fresh)
            atomic_write(fresh / CARD, model_card(facts).encode())
            write_metadata(fresh, metadata)
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    return ExportedModels(folder, bundle.name, bundle.source, licence, size, equal)


def _known_licence(bundle: Bundle) -> str:
    return "Apache-2.0" if bundle.source == "embedded" else ""


def _facts(workspace: Workspace, bundle: Bundle, licence: str) -> Facts:
    model = bundle.diffusion
    own = bundle.source == "workspace"
    return Facts(
        model=bundle.name,
        licence=licence,
        z_kinds=bundle.diffusion.z_kinds,
        drawn_kinds=bundle.z_kinds,
        shapes=tuple(f"{width} x {height}" for height, width in model.shapes),
        parameters=sum(
            each.numel() for part in (bundle.prior.model, model) for each in part.parameters()
        ),
        images_seen=model.images_seen,
        data=data_facts(workspace) if own else "scenes of simple shapes, drawn by Kaleido",
    )


def _metadata(workspace: Workspace, bundle: Bundle, facts: Facts) -> dict[str, object]:
    """Describe what is exported, so that the same again can be told."""
    source = sampling_source(workspace)
    diffusion = source.folder("baseline" if bundle.name == "baseline" else "diffusion")
    return {
        "made_by": MADE_BY,
        "version": version("kaleido-diffusion"),
        "content": fingerprint([bundle.prior.identity, weights_id(diffusion)], asdict(facts)),
    }


def _check(folder: Path, metadata: dict[str, object], overwrite: bool) -> bool:
    """Return whether a folder holds the same export.

    Raises:
        KaleidoError: If it holds another one that may not be replaced.
    """
    if not (folder / METADATA).is_file():
        return False  # `replacing_folder` refuses files of others
    found = read_metadata(folder, "export", "")
    if found == metadata:
        return True
    if found.get("made_by") != MADE_BY:
        raise KaleidoError(
            str(folder),
            "it is a model of another kind, not an export.",
            "Choose another folder.",
            code="would-overwrite",
        )
    if not overwrite:
        raise KaleidoError(
            str(folder),
            "it holds an export of other models, or one with another card.",
            "Give --overwrite to replace it, or choose another folder.",
            code="would-overwrite",
        )
    return False

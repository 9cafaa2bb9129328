"""`kaleido export`: our models as one folder that `KaleidoPipeline` loads, with its card."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

from pipelines.core.files import atomic_write
from pipelines.core.fingerprint import fingerprint
from pipelines.models.diffusion import weights_id
from pipelines.models.exported import CARD, Exported, write_export
from pipelines.models.registry import sampling_source
from pipelines.sample.bundle import Bundle, load_bundle
from pipelines.sample.card import Facts, data_facts, model_card
from pipelines.sample.kaleido_pipeline import KaleidoPipeline
from pipelines.workspace.workspace import Workspace

REPLACED: tuple[str, ...] = ("prior/*", "diffusion/*", "scheduler/*")
"""Files of an older export that a push removes from a repository."""


def export_models(
    workspace: Workspace,
    folder: Path,
    baseline: bool = False,
    licence: str = "",
    overwrite: bool = False,
) -> Exported:
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

    def write(fresh: Path) -> None:
        KaleidoPipeline.from_bundle(bundle).save_pretrained(fresh)
        atomic_write(fresh / CARD, model_card(facts).encode())

    size, equal = write_export(folder, _content(workspace, bundle, facts), write, overwrite)
    return Exported(folder, bundle.name, bundle.source, licence, size, equal)


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


def _content(workspace: Workspace, bundle: Bundle, facts: Facts) -> str:
    """Hash what is exported, so that the same again can be told."""
    source = sampling_source(workspace)
    diffusion = source.folder("baseline" if bundle.name == "baseline" else "diffusion")
    return fingerprint([bundle.prior.identity, weights_id(diffusion)], asdict(facts))

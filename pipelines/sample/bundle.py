"""The models to sample with: a prior, and the diffusion model that reads its z."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pipelines.core.errors import KaleidoError
from pipelines.core.fingerprint import fingerprint
from pipelines.latents.sequence import order_kinds, require_kinds
from pipelines.models.device import compute_device
from pipelines.models.diffusion import Diffusion
from pipelines.models.metadata import METADATA
from pipelines.models.prior import Prior
from pipelines.models.registry import EMBEDDED, READER, sampling_source
from pipelines.workspace.workspace import Workspace


@dataclass(frozen=True)
class Bundle:
    """A prior, and a diffusion model.

    Attributes:
        prior: p(z|c), which draws z.
        diffusion: p(x|z,c), or p(x|c) for a baseline.
        name: ``kaleido`` or ``baseline``.
        source: ``workspace`` or ``embedded``.
        chosen_kinds: The kinds of z to draw, in order; None for the model's usual ones.
        older: The prior that the diffusion model was trained on, where that is not `prior`.
    """

    prior: Prior
    diffusion: Diffusion
    name: str
    source: str
    chosen_kinds: tuple[str, ...] | None = None
    older: Prior | None = None

    @property
    def reader(self) -> Prior:
        """The prior with whose states the diffusion model reads caption and z."""
        return self.older or self.prior

    @property
    def z_kinds(self) -> tuple[str, ...]:
        """Kinds of z to draw, in order; none for a baseline."""
        return self.diffusion.drawn_kinds if self.chosen_kinds is None else self.chosen_kinds

    def drawing(self, kinds: Sequence[str]) -> Bundle:
        """Return the same models, restricted to z of these kinds.

        Raises:
            KaleidoError: If the model was not trained on a kind, or is a baseline.
        """
        if not self.diffusion.z_kinds:
            raise KaleidoError(
                "--z",
                "a baseline has no z.",
                "Leave out --z, or the baseline.",
                code="model-mismatch",
            )
        require_kinds(kinds, self.diffusion.z_kinds, "this model was trained on")
        return replace(self, chosen_kinds=order_kinds(kinds))


def load_bundle(
    workspace: Workspace | None = None, baseline: bool = False, embedded: bool = False
) -> Bundle:
    """Load the workspace's models, or the embedded ones if it has none.

    Args:
        workspace: The workspace, or None.
        baseline: Load the model without z.
        embedded: Load the embedded models even if the workspace has its own.

    Raises:
        InputMissing: If the workspace has models, but not both that are needed.
        KaleidoError: If the diffusion model was trained on another prior.
    """
    source = EMBEDDED if embedded else sampling_source(workspace)
    name = "baseline" if baseline else "diffusion"
    prior = Prior.load(source.folder("prior"))
    flag = " --baseline" if baseline else ""
    diffusion = Diffusion.load(source.folder(name), f"Run `kaleido train diffusion{flag}` first.")
    return pair(prior, diffusion, source.name, source.folder)


def pair(prior: Prior, diffusion: Diffusion, source: str, folder: Callable[[str], Path]) -> Bundle:
    """Put a prior and a diffusion model onto the device, as what samples.

    A diffusion model reads the states of the prior that it was trained on. That one may have been
    kept as `READER`, and another prior of the same vocabulary, trained for longer, draws z.

    Args:
        prior: The prior.
        diffusion: The diffusion model, or a baseline.
        source: Where they come from.
        folder: Returns the folder of a model by name; it need not exist.

    Raises:
        KaleidoError: If the diffusion model was trained on another prior, which was not kept.
    """
    older = None if diffusion.prior == prior.identity else _kept(folder(READER))
    if older is not None and not _replaces(prior, older):
        older = None
    if diffusion.prior != (older or prior).identity:
        raise KaleidoError(
            f"{source} models",
            "the prior was trained again after the diffusion model, which cannot read it.",
            "Run `kaleido train diffusion --restart` (and again with --baseline).",
            code="model-mismatch",
        )
    device = compute_device()
    for each in filter(None, (prior, older)):
        each.model.to(device)
    name = "kaleido" if diffusion.z_kinds else "baseline"
    return Bundle(prior, diffusion.to(device), name, source, older=older)


def _kept(folder: Path) -> Prior | None:
    return Prior.load(folder) if (folder / METADATA).exists() else None


def _replaces(prior: Prior, older: Prior) -> bool:
    """Return whether z of a prior is read by an older one as it was meant."""
    vocabulary = prior.tokenizer.get_vocab()
    return bool(vocabulary == older.tokenizer.get_vocab()) and prior.codebook == older.codebook


def bundle_hash(bundle: Bundle) -> str:
    """Hash weights and configs of a bundle's models as they are loaded."""
    model, digest = bundle.diffusion, hashlib.sha256()
    for name, tensor in model.state_dict().items():
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.cpu().numpy().tobytes())
    drawn_by = bundle.prior.identity if bundle.z_kinds else ""
    return fingerprint(
        drawn_by, bundle.reader.identity, bundle.z_kinds, model.config, digest.hexdigest()
    )

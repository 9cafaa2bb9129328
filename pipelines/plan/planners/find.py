"""Which planner a name means, and loading it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from pipelines.core.errors import KaleidoError
from pipelines.core.files import METADATA
from pipelines.core.fingerprint import fingerprint
from pipelines.extract.captioners.find import text_only
from pipelines.extract.model_ref import locate
from pipelines.latents.sequence import order_kinds, require_kinds
from pipelines.models.device import compute_device
from pipelines.models.hub import GGUF, model_identity
from pipelines.models.prior import Prior
from pipelines.plan.planners.base import Planner
from pipelines.plan.planners.language import LanguagePlanner
from pipelines.plan.planners.local import LocalWriter
from pipelines.plan.planners.prior import PriorPlanner
from pipelines.servers.access import access_to
from pipelines.servers.address import is_address
from pipelines.workspace.workspace import Workspace

_GGUF_PREFIX = "gguf:"


@dataclass(frozen=True)
class FoundPlanner:
    """A planner that is ready.

    Attributes:
        planner: Draws plans.
        note: Says what was spent so far; empty for a model on this machine.
    """

    planner: Planner
    note: Callable[[], str] = lambda: ""

    @property
    def faults(self) -> dict[str, int]:
        """What was wrong with answers of a language model so far."""
        return dict(self.planner.faults) if isinstance(self.planner, LanguagePlanner) else {}


def find_planner(
    workspace: Workspace,
    name: str,
    z_kinds: Sequence[str] | None = None,
    tell: Callable[[str], None] = lambda text: None,
) -> FoundPlanner:
    """Find and load a planner.

    Args:
        workspace: Its ``[sample]`` and ``[server]`` settings hold; answers of servers are kept in
            it.
        name: The folder of a Kaleido prior or of an instruct language model, ``gguf:FILE``, the
            name of such a model on the hub, or the address of a server and the model's name there:
            ``http://localhost:8000/v1#NAME``.
        z_kinds: Kinds of z for a prior; None takes all that it draws.
        tell: Told where captions are sent.

    Raises:
        KaleidoError: If there is no such planner, or `z_kinds` are given for a language model.
    """
    path = Path(name)
    if (path / METADATA).is_file():
        prior = Prior.load(path)
        kinds = prior.z_kinds if z_kinds is None else order_kinds(z_kinds)
        require_kinds(kinds, prior.z_kinds, "this prior draws")
        prior.model.to(compute_device())
        return FoundPlanner(PriorPlanner(prior, kinds, workspace.settings.sample))
    if z_kinds is not None:
        raise KaleidoError(
            "--z",
            "a language model writes whole documents.",
            "Leave out --z, or name a prior.",
            code="bad-option",
        )
    temperature = workspace.settings.sample.temperature
    if is_address(name):
        address, _, model = name.partition("#")
        access = access_to(workspace, address, model)
        tell(access.notice("Captions"))
        client = access.connect()
        identity = fingerprint("server", model)
        planner = LanguagePlanner(model, client, identity, temperature=temperature)
        return FoundPlanner(planner, client.note)
    found = locate(name.removeprefix(_GGUF_PREFIX), None, (GGUF,))
    if not text_only(found):
        raise KaleidoError(
            name,
            "this model sees pictures; plans are made from a caption alone.",
            "Name a causal language model, or run this one behind a server.",
            code="bad-model",
        )
    identity = model_identity(found)
    return FoundPlanner(
        LanguagePlanner(name, LocalWriter(found), identity, temperature=temperature)
    )

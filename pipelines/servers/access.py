"""A server that is chosen but not connected."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pipelines.core.errors import KaleidoError
from pipelines.servers.address import is_local, parse_address
from pipelines.servers.client import Client
from pipelines.workspace.settings import ServerSettings
from pipelines.workspace.workspace import Workspace


@dataclass(frozen=True)
class Access:
    """All that a process needs to ask a model; it can be sent to another process.

    Attributes:
        address: Of the server.
        model: The model's name there.
        settings: Time limits, concurrency, budget, and the name of the key's variable.
        cache: Folder of the answers.
    """

    address: str
    model: str
    settings: ServerSettings
    cache: Path

    def connect(self) -> Client:
        """Return a client.

        Raises:
            KaleidoError: If the key cannot be used.
        """
        return Client(self.address, self.model, self.settings, self.cache)

    def notice(self, what: str) -> str:
        """Say where data travel, for the user.

        Args:
            what: The data, in the plural.
        """
        place = "on this machine" if is_local(self.address) else "on another machine"
        return f"{what} are sent to {self.address}, {place}."


def access_to(
    workspace: Workspace, address: str, model: str, several_processes: bool = False
) -> Access:
    """Choose a model on a server, with the workspace's settings and cache.

    Args:
        workspace: Its ``[server]`` settings hold; answers go to its ``answers`` folder.
        address: Of the server.
        model: The model's name there.
        several_processes: Whether more than one process will ask.

    Raises:
        KaleidoError: If the address cannot be used, no model is named, or several processes would
            each count a budget of their own.
    """
    settings = workspace.settings.server
    if not model:
        raise KaleidoError(
            "--model",
            "the model that the server shall run is not named.",
            "Give the name under which the server offers it.",
            code="bad-option",
        )
    if several_processes and (settings.max_cost or settings.max_requests):
        raise KaleidoError(
            "--max-cost and --max-requests",
            "with several workers or on a cluster, each process would spend the whole budget.",
            "Use one local worker; --concurrency sets how many requests are under way at once.",
            code="bad-option",
        )
    return Access(parse_address(address), model, settings, workspace.answers)

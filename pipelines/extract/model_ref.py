"""From a name to a model: the one way for detectors, describers and visual tokenizers.

A name is a folder or file, the name of a plug-in, or a name on the Hugging Face hub. `locate` tells
them apart; the task's own module (`detectors/find.py` and its like) reads from a folder's
configuration which family of models it belongs to. Nothing heavy is imported for that.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipelines.core.plugins import load_plugin, plugin_error
from pipelines.models.hub import model_folder


@dataclass(frozen=True)
class ModelRef:
    """A model that is chosen but not loaded; it can be sent to another process.

    Attributes:
        name: What the user called it.
        family: Its kind of model, which decides how it is loaded; part of the name of the stage
            that uses it.
        identity: Hash or version of everything that its results depend on.
        path: Its folder or file; None for a plug-in's, which each process finds by its name.
    """

    name: str
    family: str
    identity: str
    path: Path | None

    @property
    def folder(self) -> Path:
        """The path of a model that is not a plug-in's.

        Raises:
            ValueError: If it is a plug-in's.
        """
        if self.path is None:
            raise ValueError(f"{self.name} is a plug-in and has no folder")
        return self.path


@dataclass(frozen=True)
class PluginContract:
    """The classes that plug-ins may bring for a task.

    Attributes:
        group: One of `pipelines.core.plugins.GROUPS`.
        method: The method that such a class must have.
        flag: Its attribute that must be True or False.
    """

    group: str
    method: str
    flag: str

    def find(self, name: str) -> Any:
        """Import the class that a package brings under a name; None if none does.

        Raises:
            KaleidoError: If it cannot be imported or breaks the contract.
        """
        found: Any = load_plugin(self.group, name)
        if found is None:
            return None
        identity = getattr(found, "identity", None)
        why = ""
        if not (isinstance(found, type) and callable(getattr(found, self.method, None))):
            why = f"{found!r} is not a class with a method {self.method}."
        elif not (isinstance(identity, str) and identity):
            why = f"{found.__name__}.identity is not a text that names its version."
        elif type(getattr(found, self.flag, None)) is not bool:
            why = f"{found.__name__}.{self.flag} is not True or False."
        if why:
            raise plugin_error(self.group, name, why)
        return found


def locate(name: str, contract: PluginContract | None, suffixes: tuple[str, ...] = ()) -> Any:
    """Find what a name means.

    Args:
        name: A folder, a file, the name of a plug-in, or a name on the Hugging Face hub.
        contract: Of the task's plug-ins; None if plug-ins cannot bring such models.
        suffixes: Of single files that the task can read.

    Returns:
        The `Path` of a folder or file, or a plug-in's class. A path that exists comes first; a
        model on the hub is fetched.

    Raises:
        KaleidoError: If the name means nothing, or the plug-in breaks its contract.
    """
    if contract is not None and not Path(name).exists() and (found := contract.find(name)):
        return found
    return model_folder(name, suffixes)

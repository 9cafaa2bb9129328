"""Checks of an ultralytics checkpoint before it is loaded; nothing in it is run.

The pickle inside is read by an unpickler that knows no class: in place of each it builds an empty
object. So it sees what the file would build, how large its tensors are, and whether a layer is
called like a function, which would run its constructor.
"""

from __future__ import annotations

import pickle
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any
from zipfile import ZIP_STORED, ZipFile

from pipelines.extract.detectors.layers import LAYERS, TORCH_LAYERS

NETWORKS = {
    "DetectionModel": "detect",
    "YOLOv10DetectionModel": "detect",
    "WorldModel": "detect",
    "YOLOEModel": "detect",
    "RTDETRDetectionModel": "rtdetr",
    "SegmentationModel": "segment",
    "YOLOESegModel": "segment",
}
"""Networks of ``ultralytics.nn.tasks`` that find objects, and how their output is read."""

MAX_ENTRIES = 50_000
"""Most files in the archive; the largest networks have a few thousand tensors."""

MAX_PICKLE = 16 * 2**20
"""Largest pickle in bytes; those of the largest networks are below half a megabyte."""

MAX_CHILDREN = 2_000
"""Most layers of one container."""

_OTHER_NETWORKS = ("ClassificationModel", "OBBModel", "PoseModel", "BaseModel")


class NotAllowed(Exception):
    """The file names or calls something that might do more than hold weights."""


def read_names(path: Path, trusted: bool) -> list[str]:
    """Check a checkpoint, and return the classes and functions that it names, in its order.

    Args:
        path: The file.
        trusted: Whether it may run code as it is loaded; then only its sizes are checked.

    Raises:
        NotAllowed: If it builds something else than listed layers, and is not trusted.
        ValueError: If it is no such archive, is damaged, or exceeds a limit.
        Exception: As `zipfile` and `pickle` raise for damaged files.
    """
    data = _read_pickle(path)
    reader = _Reader(data, trusted)
    try:
        reader.load()
    except (NotAllowed, ValueError):
        raise
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    except Exception as error:  # a pickle's opcodes may do anything with the empty objects
        raise ValueError(f"its pickle is damaged ({type(error).__name__}: {error})") from error
    return reader.names


def _read_pickle(path: Path) -> bytes:
    """Return the pickle in an archive whose sizes are those of the file: torch compresses none."""
    with ZipFile(path) as archive:
        entries = archive.infolist()
        if len(entries) > MAX_ENTRIES:
            raise ValueError(f"the archive holds {len(entries):,} files")
        if any(entry.compress_type != ZIP_STORED for entry in entries):
            raise ValueError("the archive is compressed, which torch's are not")
        if sum(entry.file_size for entry in entries) > path.stat().st_size:
            raise ValueError("the files in the archive overlap")
        pickles = [entry for entry in entries if entry.filename.endswith("/data.pkl")]
        if len(pickles) != 1:
            raise ValueError(f"the archive holds {len(pickles)} pickles")
        if pickles[0].file_size > MAX_PICKLE:
            raise ValueError(f"its pickle has {pickles[0].file_size:,} bytes")
        return archive.read(pickles[0])


class _Reader(pickle.Unpickler):
    """Builds empty objects in place of everything that the pickle names."""

    def __init__(self, data: bytes, trusted: bool) -> None:
        super().__init__(BytesIO(data))
        self.names: list[str] = []
        self._trusted = trusted

    def find_class(self, module: str, name: str) -> Any:
        self.names.append(f"{module}.{name}")
        if module.startswith(("ultralytics.nn", "torch.nn")):
            known = {*LAYERS, *TORCH_LAYERS, *NETWORKS, *_OTHER_NETWORKS}
            if not self._trusted:
                if name not in known:
                    raise NotAllowed(f"{module}.{name}")
                return type(name, (_Layer,), {})
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if module == "torch._utils" and name.startswith("_rebuild_tensor"):
            return _check_tensor
        return _Anything

    def persistent_load(self, pid: Any) -> Any:
        return _Storage(int(pid[4]))


class _Anything:
    """An object that takes whatever a pickle does to it."""

    def __init__(self, *arguments: Any) -> None:
        pass

    def __call__(self, *arguments: Any) -> _Anything:
        return self

    def __setstate__(self, state: Any) -> None:
        pass

    def __setitem__(self, key: Any, value: Any) -> None:
        pass

    def append(self, item: Any) -> None:
        pass

    add = append

    def extend(self, items: Any) -> None:
        pass


class _Layer:
    """A layer; pickles of real ones fill an empty object and never call the constructor."""

    def __init__(self, *arguments: Any) -> None:
        raise NotAllowed(f"a call of {type(self).__name__}")

    def __setstate__(self, state: Any) -> None:
        children = state.get("_modules") if isinstance(state, Mapping) else None
        self.children = list(children.values()) if isinstance(children, Mapping) else []
        self.has_parent = False
        if len(self.children) > MAX_CHILDREN:
            raise ValueError(f"a layer has {len(self.children):,} parts")
        for child in self.children:
            # Activations are shared; shared containers would multiply the work exponentially.
            if getattr(child, "children", None):
                if child.has_parent:
                    raise ValueError("a layer with parts is used in several places")
                child.has_parent = True


class _Storage:
    def __init__(self, count: int) -> None:
        self.count = count


def _check_tensor(
    storage: Any, offset: int, size: Sequence[int], stride: Sequence[int], *more: Any
) -> _Anything:
    """Refuse tensors of more values than are stored: they grow when they are converted."""
    count = 1
    for side in size:
        count *= side
    if count > getattr(storage, "count", 0):
        raise ValueError(f"a tensor of {count:,} values is stored as fewer")
    return _Anything()

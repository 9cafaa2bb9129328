"""All formats: those of Kaleido and those of plug-ins."""

from __future__ import annotations

from pipelines.core.errors import KaleidoError, nearest
from pipelines.core.plugins import load_plugin, plugin_error, plugin_names
from pipelines.documents.dialects.answers import ANSWERS
from pipelines.documents.dialects.base import Dialect, WritableDialect
from pipelines.documents.dialects.bbox import BboxSidecar
from pipelines.documents.dialects.coco import Coco
from pipelines.documents.dialects.fibo import Fibo
from pipelines.documents.dialects.gbc import Gbc
from pipelines.documents.dialects.ideogram4 import Ideogram4
from pipelines.documents.dialects.kaleido import KaleidoZ
from pipelines.documents.dialects.label_studio import LabelStudio
from pipelines.documents.dialects.labelme import LabelMe
from pipelines.documents.dialects.layoutsam import LayoutSam
from pipelines.documents.dialects.prose import Prose
from pipelines.documents.dialects.voc import Voc
from pipelines.documents.dialects.yolo import Yolo

DIALECTS: dict[str, Dialect] = {
    dialect.name: dialect
    for dialect in (
        *(KaleidoZ(), Ideogram4(), Fibo(), BboxSidecar(), Coco()),
        *(Yolo("detect"), Yolo("segment"), Yolo("obb")),
        *(LabelMe(), Voc(), Voc(original=True), LabelStudio(), Gbc(), LayoutSam(), Prose()),
        *ANSWERS,
    )
}
"""The formats of Kaleido by name."""

PLUGINS = "kaleido.dialects"
"""Entry points of plug-ins: name -> class without constructor arguments."""


def dialect(name: str) -> Dialect:
    """Return the format with a name.

    Raises:
        KaleidoError: If there is none; the hint suggests the nearest name.
    """
    if name in DIALECTS:
        return DIALECTS[name]
    found = load_plugin(PLUGINS, name)
    if found is None:
        known = nearest(name, (*DIALECTS, *plugin_names(PLUGINS)))
        raise KaleidoError(name, "there is no such format.", known, code="bad-option")
    made: Dialect = found()
    if not callable(getattr(made, "read", None)) or getattr(made, "name", None) != name:
        raise plugin_error(PLUGINS, name, "it has no read() method, or its name differs.")
    return made


def writable(name: str) -> WritableDialect:
    """Return the writable format with a name.

    Raises:
        KaleidoError: If there is none, or it is read-only.
    """
    found = dialect(name)
    if isinstance(found, WritableDialect):
        return found
    known = ", ".join(key for key, form in DIALECTS.items() if isinstance(form, WritableDialect))
    raise KaleidoError(name, "it can only be read.", f"Write one of {known}.", code="bad-option")

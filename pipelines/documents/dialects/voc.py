"""Pascal VOC: one XML file per picture; boxes in pixels.

The original VOC files count pixels from 1 and include the last one, while most tools write edges
from 0. The files do not show the difference, so `voc` reads edges and `voc-original` pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from xml.etree.ElementTree import Element as Node
from xml.etree.ElementTree import ParseError, SubElement, indent, tostring

from pipelines.documents.dialects.base import Context, Reading, Written, layout_losses
from pipelines.documents.dialects.geometry import fraction_box, image_size, numbers, pixels
from pipelines.documents.document import Document, Image, Origin
from pipelines.documents.element import Element
from pipelines.documents.problems import Problem


class Voc:
    """Pascal VOC.

    Args:
        original: Whether pixels are counted from 1 and the last one is included.
    """

    suffix = ".xml"
    per_picture = True

    def __init__(self, original: bool = False) -> None:
        self._shift = 1 if original else 0
        self.name = "voc-original" if original else "voc"
        self.title = "Pascal VOC: XML, boxes in pixels" + (
            " counted from 1, as VOC's own files" if original else " as edges from 0"
        )

    def read(self, data: bytes, context: Context) -> Reading:
        """Read one annotation."""
        from defusedxml.common import DefusedXmlException
        from defusedxml.ElementTree import fromstring

        try:
            root = fromstring(data)
        except (ParseError, DefusedXmlException, ValueError, RecursionError) as error:
            return Reading([], [Problem("", "syntax", f"It is not plain XML ({error}).")])
        sides = [root.findtext(f"size/{name}", "").strip() for name in ("width", "height")]
        size = None
        if all(side.isascii() and side.isdigit() and len(side) < 8 for side in sides):
            size = image_size(*map(int, sides))
        if size is None:
            return Reading([], [Problem("size", "size", "It has no width or height.")])
        problems: list[Problem] = []
        elements: list[Element] = []
        for index, node in enumerate(root.iterfind("object")):
            element = self._element(f"object[{index}]", node, len(elements), size, problems)
            elements += [] if element is None else [element]
        document = Document(
            key=context.key,
            image=size,
            elements=tuple(elements),
            origin=Origin(format=self.name, file=context.name, order="xy"),
        )
        return Reading([document], problems)

    def write(self, documents: Sequence[Document]) -> Written:
        """Write one annotation per document, without documents that have no size."""
        files, lost = {}, {}
        for document in documents:
            lost[str(document.key)] = list(layout_losses(document, counts_pixels=True))
            if document.image is not None:
                files[f"{document.key}{self.suffix}"] = self._xml(document, document.image)
        return Written(files, lost)

    def _element(
        self, path: str, node: Node, number: int, size: Image, problems: list[Problem]
    ) -> Element | None:
        def skip(code: str, why: str) -> None:
            problems.append(Problem(path, code, why, "warning"))

        label = (node.findtext("name") or "").strip()
        if not label or len(label) > 4000:
            skip("label", "It has no name.")
            return None
        names = ("xmin", "ymin", "xmax", "ymax")
        try:
            edges = numbers([float(node.findtext(f"bndbox/{name}", "")) for name in names], 4)
        except ValueError:
            edges = None
        if edges is None:
            skip("box", "Its bndbox lacks a number.")
            return None
        edges = [edges[0] - self._shift, edges[1] - self._shift, *edges[2:]]
        box, fault = fraction_box(edges, size.width, size.height, path)
        if fault is not None:
            skip(fault.code, fault.message)
            return None
        return Element(id=f"e{number}", label=label, box=box)

    def _xml(self, document: Document, size: Image) -> str:
        root = Node("annotation")
        SubElement(root, "filename").text = f"{document.key}.jpg"
        form = SubElement(root, "size")
        for name, value in (("width", size.width), ("height", size.height), ("depth", 3)):
            SubElement(form, name).text = str(value)
        for element in document.elements or ():
            if element.box is None:
                continue
            node = SubElement(root, "object")
            name = element.label or element.description or element.text or ""
            SubElement(node, "name").text = "".join(c for c in name if c.isprintable())
            box = SubElement(node, "bndbox")
            x1, y1, x2, y2 = (
                pixels(value, extent)
                for value, extent in zip(element.box, (size.width, size.height) * 2, strict=True)
            )
            edges = (x1 + self._shift, y1 + self._shift, x2, y2)
            for tag, edge in zip(("xmin", "ymin", "xmax", "ymax"), edges, strict=True):
                SubElement(box, tag).text = f"{edge:g}" if edge == int(edge) else f"{edge:.2f}"
        indent(root)
        return tostring(root, encoding="unicode") + "\n"

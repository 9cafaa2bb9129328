"""GBC: captions as graphs of entities, one JSON object per picture; boxes as fractions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pipelines.documents.dialects.base import Context, Reading, read_lines
from pipelines.documents.dialects.geometry import fraction_box, image_size, numbers
from pipelines.documents.document import MAX_ELEMENTS, Document, Image, Origin, Relation
from pipelines.documents.element import Element
from pipelines.documents.problems import Problem


class Gbc:
    """Read only, because a graph contains more than a document."""

    name = "gbc"
    suffix = ".jsonl"
    title = "GBC: graph-based captions, one JSON object per line (read only)"

    def read(self, data: bytes, context: Context) -> Reading:
        """Read one graph, or one graph per line."""

        def build(graph: Any, where: str, index: int, problems: list[Problem]) -> Document | None:
            if isinstance(graph, dict) and isinstance(graph.get("vertices"), list):
                return _document(graph, where, context, problems, index)
            problems.append(Problem(where, "type", "It is not a graph with vertices."))
            return None

        return read_lines(data, build)


def _document(
    graph: Mapping[str, Any], where: str, context: Context, problems: list[Problem], index: int
) -> Document:
    vertices = {
        v["vertex_id"]: v
        for v in graph["vertices"]
        if isinstance(v, dict) and isinstance(v.get("vertex_id"), str)
    }
    elements: list[Element] = []
    ids: dict[str, str] = {}
    for name, vertex in vertices.items():
        # Skip vertices with instances ("trees" with "trees_0", "trees_1"), which would count twice.
        instances = any(other.startswith(f"{name}_") for other in vertices)
        if vertex.get("label") != "entity" or instances or len(elements) == MAX_ELEMENTS:
            continue
        element, fault = _element(f"e{len(elements)}", f"{where}.{name}", vertex)
        if fault is not None:
            problems.append(fault)
        if element is not None:
            ids[name] = element.id
            elements.append(element)
    path = graph.get("img_path") or graph.get("img_url")
    key = Context(path).key if isinstance(path, str) and path else f"{context.key}-{index}"
    return Document(
        key=key,
        image=_size(graph.get("img_size")),
        caption=_caption(graph, "original_caption"),
        description=_caption(graph, "detail_caption") or _caption(graph, "short_caption"),
        elements=tuple(elements),
        relations=tuple(_relations(vertices, ids)) or None,
        origin=Origin(format="gbc", file=context.name, order="xy"),
    )


def _element(
    name: str, path: str, vertex: Mapping[str, Any]
) -> tuple[Element | None, Problem | None]:
    box_form = vertex.get("bbox")
    edges = None
    if isinstance(box_form, dict):
        edges = numbers([box_form.get(k) for k in ("left", "top", "right", "bottom")], 4)
    if edges is None:
        return None, Problem(path, "box", "Its bbox is not four numbers.", "warning")
    box, fault = fraction_box(edges, 1, 1, path)
    if fault is not None:
        return None, Problem(path, fault.code, fault.message, "warning")
    score = box_form.get("confidence") if isinstance(box_form, dict) else None
    label = next(iter(_texts(vertex.get("in_edges"))), vertex["vertex_id"].split("_")[0])
    details = [
        d["text"]
        for d in _rows(vertex.get("descs"))
        if isinstance(d, dict) and d.get("label") == "detail" and isinstance(d.get("text"), str)
    ]
    element = Element(
        id=name,
        label=label[:4000] or "thing",
        description=details[0][:4000] if details else None,
        box=box,
        score=score if isinstance(score, float) and 0 <= score <= 1 else None,
    )
    return element, None


def _rows(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _texts(edges: Any) -> list[str]:
    return [
        e["text"] for e in _rows(edges) if isinstance(e, dict) and isinstance(e.get("text"), str)
    ]


def _relations(vertices: Mapping[str, Mapping[str, Any]], ids: Mapping[str, str]) -> list[Relation]:
    """Read relation vertices, whose edges connect two entities."""
    found: list[Relation] = []
    for vertex in vertices.values():
        edges = vertex.get("out_edges")
        if vertex.get("label") != "relation" or not isinstance(edges, list):
            continue
        ends = [ids[e["target"]] for e in edges if isinstance(e, dict) and e.get("target") in ids]
        texts = _texts(vertex.get("descs"))
        if len(ends) == 2 and texts:
            found.append(Relation(subject=ends[0], text=texts[0][:4000], object=ends[1]))
    return found


def _caption(graph: Mapping[str, Any], name: str) -> str | None:
    value = graph.get(name)
    return value[:4000] if isinstance(value, str) and value.strip() else None


def _size(value: Any) -> Image | None:
    return image_size(*value) if isinstance(value, list) and len(value) == 2 else None

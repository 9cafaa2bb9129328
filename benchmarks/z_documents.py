"""Read 10,000 hostile documents, and convert 10,000 sound ones.

The aims: no traceback, no row without a document or a problem, and a conversion in under 10 seconds
of CPU time.
"""

from __future__ import annotations

import json
import random
import re
import tempfile
import time
from collections import Counter
from pathlib import Path

from pipelines.core.errors import KaleidoError
from pipelines.documents.convert import convert
from pipelines.documents.dialects.base import Context, WritableDialect
from pipelines.documents.dialects.registry import DIALECTS
from pipelines.documents.document import Document, Image
from pipelines.documents.element import Element, Ellipse, Mask
from pipelines.documents.palette import Swatch

COUNT = 10_000
LARGE = 10 * 2**20
"""Length of a long string; a hundredth of the mutations have one."""

ODD = ("NaN", "-Infinity", "1e309", "-1", "0", "-0.0", "1e-320", "9" * 5000, "true", "null", '"5"')
"""JSON values that take the place of a number."""

ANSWERS = {
    "qwen2-vl": "<|object_ref_start|>kite<|object_ref_end|>"
    "<|box_start|>(10,20),(300,400)<|box_end|>",
    "qwen2.5-vl": '[{"bbox_2d": [10, 20, 30, 40], "label": "kite"}]',
    "qwen3-vl": '[{"bbox_2d": [10, 20, 300, 400], "label": "kite"}]',
    "gemini": '[{"box_2d": [10, 20, 300, 400], "label": "kite"}]',
    "florence-2": "kite<loc_52><loc_332><loc_932><loc_774>",
    "paligemma": "<loc0100><loc0200><loc0300><loc0400> kite",
    "kosmos-2": "<phrase>a kite</phrase><object><patch_index_0044><patch_index_0863></object>",
    "prose": "A kite (120, 330, 410, 620) over a hill (0, 600, 1000, 1000).",
}
"""Sound texts of formats that are only read or hold prose."""


READ_ONLY: dict[str, object] = {
    "label-studio": [
        {
            "data": {"image": "a.png"},
            "annotations": [
                {
                    "result": [
                        {
                            "type": "rectanglelabels",
                            "original_width": 100,
                            "original_height": 80,
                            "value": {
                                **{"x": 10, "y": 10, "width": 30, "height": 40, "rotation": 0},
                                "rectanglelabels": ["kite"],
                            },
                        }
                    ]
                }
            ],
        }
    ],
    "gbc": {
        "img_id": "a",
        "img_size": [80, 100],
        "vertices": [
            {"vertex_id": "", "label": "image", "descs": [{"text": "A kite.", "label": "short"}]},
            {"vertex_id": "kite", "label": "entity", "bbox": {"left": 0.1, "top": 0.1}},
        ],
    },
    "layoutsam": {"caption": "a kite", "bbox_list": [[1, 2, 30, 40]], "region_captions": ["kite"]},
}
"""JSON values in the shape of formats that are only read."""


def main() -> None:
    rng = random.Random(0)
    sound = {name: example(name) for name in DIALECTS}
    found: Counter[str] = Counter()
    start = time.process_time()
    for number in range(COUNT):
        name = rng.choice(sorted(sound))
        found[outcome(name, hostile(sound[name], rng))] += 1
        if number % 1000 == 999:
            print(f"{number + 1:,} read in {time.process_time() - start:.0f} CPU seconds: {found}")
    seconds = conversion()
    print(f"{COUNT:,} documents of COCO became Ideogram's in {seconds:.1f} CPU seconds")
    if found["traceback"] or found["silent"] or seconds > 10:
        raise SystemExit("The aims are not met.")


def outcome(name: str, data: bytes) -> str:
    """Read a file and say what came of it."""
    try:
        reading = DIALECTS[name].read(data, Context("a.json", 100, 80, {0: "kite", 1: "hill"}))
    except KaleidoError:
        return "error"
    except Exception as error:
        print(f"{name}: {type(error).__name__}: {error} in {data[:200]!r}")
        return "traceback"
    if reading.problems:
        return "problems listed"
    return "documents" if reading.documents else "silent"


def hostile(text: str, rng: random.Random) -> bytes:
    """Change a sound text in one to three hostile ways."""
    data = text
    for _ in range(rng.randint(1, 3)):
        data = rng.choice(WAYS)(data, rng)
    encoded = data.encode("utf-8", "surrogatepass")
    if rng.random() < 0.1:
        place = rng.randrange(max(1, len(encoded)))
        encoded = encoded[:place] + rng.randbytes(3) + encoded[place + rng.randint(0, 5) :]
    return encoded


def odd_number(text: str, rng: random.Random) -> str:
    return _replaced(text, rng, r"-?\d+(?:\.\d+)?", rng.choice(ODD))


def swapped_numbers(text: str, rng: random.Random) -> str:
    """Exchange two numbers: boxes are reversed, or their axes swapped."""
    places = list(re.finditer(r"-?\d+(?:\.\d+)?", text))
    if len(places) < 2:
        return text
    first, second = sorted(rng.sample(places, 2), key=lambda match: match.start())
    between = text[first.end() : second.start()]
    return text[: first.start()] + second.group() + between + first.group() + text[second.end() :]


def duplicate_key(text: str, rng: random.Random) -> str:
    return _replaced(text, rng, r'"\w+":', rng.choice(['"elements":', '"box":', '"id":', '"a":']))


def deep(text: str, rng: random.Random) -> str:
    depth = rng.choice([70, 2000, 100_000])
    return _replaced(text, rng, r"\d+|\"[^\"]*\"", "[" * depth + "1" + "]" * depth)


def strange_string(text: str, rng: random.Random) -> str:
    odd = ["\\ud800", "\x00", "\\u0000", "\u202e", "\ud800", "\\n\\u001b[31m", "<&]]>", "%"]
    value = "x" * LARGE if rng.random() < 0.01 else rng.choice(odd)
    return _replaced(text, rng, r"(?<=\")\w+(?=\")|\b[a-z]+\b", value)


def cut(text: str, rng: random.Random) -> str:
    start = rng.randrange(len(text) + 1)
    return text[:start] + text[min(len(text), start + rng.choice([1, 10, len(text)])) :]


def _replaced(text: str, rng: random.Random, pattern: str, value: str) -> str:
    places = list(re.finditer(pattern, text))
    if not places:
        return text + value
    match = rng.choice(places)
    return text[: match.start()] + value + text[match.end() :]


WAYS = (odd_number, swapped_numbers, duplicate_key, deep, strange_string, cut)


def example(name: str) -> str:
    """Return a sound file of a format."""
    if name in ANSWERS:
        return ANSWERS[name]
    form = DIALECTS[name]
    if isinstance(form, WritableDialect):
        return next(iter(form.write([kites(0)]).files.values()))
    return json.dumps(READ_ONLY[name])


def kites(number: int) -> Document:
    outline = Mask(polygons=((0.1, 0.1, 0.4, 0.1, 0.4, 0.5),))
    ellipse = Ellipse(x=0.25, y=0.3, major=0.2, minor=0.1, angle=30)
    return Document(
        key=f"p{number}",
        image=Image(width=100, height=80),
        caption="a kite over a hill",
        description="A red kite over a green hill.",
        elements=(
            Element(id="e0", label="hill", box=(0, 0.6, 1, 1)),
            Element(
                id="e1",
                label="kite",
                box=(0.1, 0.1, 0.4, 0.5),
                mask=outline,
                ellipse=ellipse,
                colours=("#D8342C",),
            ),
        ),
        palette=(Swatch(hex="#6FA85A", weight=900), Swatch(hex="#D8342C", weight=100)),
    )


def conversion() -> float:
    """Convert `COUNT` pictures of one COCO file, and return the CPU seconds that it takes."""
    form = DIALECTS["coco"]
    assert isinstance(form, WritableDialect)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "coco.json"
        (text,) = form.write([kites(number) for number in range(COUNT)]).files.values()
        path.write_text(text)
        start = time.process_time()
        done = convert([path], "coco", "ideogram4", Path(folder) / "out", ["all"])
        seconds = time.process_time() - start
    assert done.documents == len(done.files) == COUNT
    return seconds


if __name__ == "__main__":
    main()

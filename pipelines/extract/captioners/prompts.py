"""Prompt files: several prompts with weights, each of one or several questions."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from pipelines.core.errors import KaleidoError

NEXT_STAGE = "---"
"""A line that ends one question and begins the next of the same chat."""

_NEXT_PROMPT = re.compile(r"===(?:\s+(\S{1,20}))?")
"""A line that begins another prompt, whose weight may follow."""


@dataclass(frozen=True)
class Prompt:
    """How a model is asked for a description.

    Attributes:
        weight: How often training sees the description, beside those of other prompts; above 0.
        stages: Questions of one chat; the last one asks for the description.
    """

    weight: float
    stages: tuple[str, ...]


def split_prompts(text: str) -> list[Prompt]:
    """Divide a prompt file at lines such as ``=== 0.5``.

    Raises:
        KaleidoError: If a weight is not a number above 0, or there is no question.
    """
    prompts: list[tuple[float, list[str]]] = [(1.0, [])]
    for line in text.splitlines():
        if match := _NEXT_PROMPT.fullmatch(line.strip()):
            prompts.append((_weight(match[1]), []))
        else:
            prompts[-1][1].append(line)
    found = [(weight, tuple(_split_stages(lines))) for weight, lines in prompts]
    asked = [Prompt(weight, stages) for weight, stages in found if stages]
    if not asked:
        raise _wrong("it asks no question.", "Write one into the file.")
    return asked


def _split_stages(lines: list[str]) -> list[str]:
    stages: list[list[str]] = [[]]
    for line in lines:
        if line.strip() == NEXT_STAGE:
            stages.append([])
        else:
            stages[-1].append(line)
    return [text for stage in stages if (text := "\n".join(stage).strip())]


def _weight(text: str | None) -> float:
    try:
        weight = float(text or 1)
    except ValueError:
        weight = math.nan
    if not 0 < weight < math.inf:
        raise _wrong(f"{text!r} is no weight above 0.", "Write === 0.5, or === alone.")
    return weight


def _wrong(why: str, hint: str) -> KaleidoError:
    return KaleidoError("--prompt", why, hint, code="bad-option")

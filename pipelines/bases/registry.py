"""All families of bases."""

from __future__ import annotations

from typing import Any

from pipelines.bases.families.fibo import Fibo
from pipelines.bases.families.fibo2 import Fibo2
from pipelines.bases.families.flux1 import Flux1
from pipelines.bases.families.flux2_klein import Flux2Klein
from pipelines.bases.families.ideogram4 import Ideogram4
from pipelines.bases.families.lumina2 import Lumina2
from pipelines.bases.families.pixart_sigma import PixArtSigma
from pipelines.bases.families.qwen_image import QwenImage
from pipelines.bases.families.sana import Sana
from pipelines.bases.families.sd3 import Sd3
from pipelines.bases.families.sd15 import Sd15
from pipelines.bases.families.sdxl import Sdxl
from pipelines.bases.families.z_image import ZImage
from pipelines.bases.family import Family
from pipelines.core.errors import KaleidoError

FAMILIES: tuple[Family, ...] = (
    *(Sdxl(), Sd15(), Sd3(), Flux1(), Flux2Klein()),
    *(ZImage(), QwenImage(), Sana(), PixArtSigma(), Lumina2()),
    *(Ideogram4(), Fibo(), Fibo2()),
)


def family_of(pipeline: str, where: str) -> Family:
    """Return the family of a class of diffusers pipelines.

    Args:
        pipeline: The class's name.
        where: What an error names.

    Raises:
        KaleidoError: If no family has it.
    """
    for family in FAMILIES:
        if pipeline in family.pipelines:
            return family
    known = ", ".join(name for family in FAMILIES for name in family.pipelines)
    raise KaleidoError(
        where,
        f"it is a {pipeline}, which is none of the pipelines that can be a base.",
        f"Known: {known}.",
        code="bad-model",
    )


def pipeline_class(family: Family, where: str) -> Any:
    """Return the family's class of the diffusers that is installed.

    Args:
        family: The family.
        where: What an error names.

    Raises:
        KaleidoError: If this diffusers is too old for it.
    """
    import diffusers

    found = getattr(diffusers, family.pipelines[0], None)
    if found is None:
        raise KaleidoError(
            where,
            f"diffusers {diffusers.__version__} has no {family.pipelines[0]}.",
            "Install a newer one: pip install --upgrade diffusers.",
            code="not-installed",
        )
    return found

"""Stages of plug-ins, for their own kinds of latents."""

from __future__ import annotations

from collections.abc import Sequence

from pipelines.core.errors import KaleidoError
from pipelines.core.plugins import LATENTS, STAGES, load_plugin, plugin_error, plugin_packages
from pipelines.core.stage import Stage, StageSpec
from pipelines.extract.context import StageContext
from pipelines.latents.registry import KINDS, extract_command, latent_class


def plugin_stage(kind: str, context: StageContext) -> Stage | None:
    """Build the stage that a plug-in brings for a kind, or None if none does.

    Raises:
        KaleidoError: If the plug-in cannot be imported, or makes no stage of this kind.
    """
    make = load_plugin(STAGES, kind)
    if make is None:
        return None
    latent_class(kind)
    try:
        stage = make(context)
    except KaleidoError:
        raise
    except Exception as error:  # whatever the package's own code raises
        why = f"it makes no stage ({type(error).__name__}: {error})."
        raise plugin_error(STAGES, kind, why) from error
    spec = getattr(stage, "spec", None)
    if not (isinstance(stage, Stage) and isinstance(spec, StageSpec)):
        why = f"it makes a {type(stage).__name__}, not a pipelines.core.stage.Stage with its spec."
        raise plugin_error(STAGES, kind, why)
    if spec.output != kind:
        raise plugin_error(STAGES, kind, f"its stage makes {spec.output!r}, not {kind!r}.")
    return stage


def check_plugin_kinds(kinds: Sequence[str]) -> None:
    """Raise KaleidoError if one of `kinds` is Kaleido's own."""
    for kind in kinds:
        if kind in KINDS:
            package = plugin_packages(LATENTS, kind)
            unused = f"; that of {package} is not used" if package else ""
            why = f"Kaleido has a kind of this name itself{unused}."
            raise KaleidoError(kind, why, f"Run `{extract_command(kind)}`.", code="bad-option")

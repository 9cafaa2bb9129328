"""Render the package's templates into pages that need nothing from elsewhere."""

from __future__ import annotations

import math
from functools import cache
from typing import Any

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined

from pipelines.evaluate.report.contents import bound, number, outcome

HOME = "pipelines.evaluate.report"


def render_template(name: str, package: str = HOME, **values: Any) -> str:
    """Render a template; all values are escaped.

    Args:
        name: The template's file.
        package: Package with the folder ``templates`` of the file; those of this package can be
            extended and imported.
        values: Variables of the template.
    """
    return _environment(package).get_template(name).render(values)


@cache
def _environment(package: str) -> Environment:
    environment = Environment(
        loader=ChoiceLoader([PackageLoader(package), PackageLoader(HOME)]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "number": number,
        "bound": bound,
        "outcome": outcome,
        "finite": math.isfinite,
    }
    return environment

"""Titles of the metrics that only an evaluation of scenes reports."""

from __future__ import annotations

from pipelines.evaluate.report.titles import controls
from pipelines.scenes.modes import FACTORS

PARITY_ENTROPIES = ("entropy.colour", "entropy.place")
HEADLINES = ("entropy.colour", "entropy.place", "caption")
CURVES = (
    "caption",
    "boxes",
    *("entropy.colour", "entropy.texture", "entropy.place", "entropy.background"),
)

_CEILING = {
    "box": "boxes found at an IoU of at least 0.5",
    "adherence": "boxes found with the right shape",
    "count": "pictures with the right number of objects",
    "shape": "right shapes among boxes found",
    "colour": "right colours among boxes found",
    "texture": "right textures among boxes found",
    "background": "right backgrounds",
}
"""Name of an accuracy in the judge's config -> its title."""

TITLES = {
    **{f"ceiling.{name}": (title, "") for name, title in _CEILING.items()},
    "vendi.valid": ("Vendi score, valid only", "over pictures with exactly the captioned objects"),
    "vendi.infinity.valid": (
        "Vendi, order ∞, valid only",
        "over pictures with exactly the captioned objects",
    ),
    "mss.valid": ("Similarity, valid only", "over pictures with exactly the captioned objects"),
    "caption": (
        "Caption kept",
        "share of pictures with exactly the captioned objects, in the stated colours",
    ),
    "description": ("Description kept", "share of its facts that the judge finds in the picture"),
    **controls("description", "facts"),
    **{
        f"description.{name}": (f"Description: {words}", f"share of the {words} stated")
        for name, words in {
            "shape": "shapes",
            "count": "numbers of objects",
            "colour": "colours",
            "texture": "textures",
            "size": "sizes",
            "place": "places",
            "arrangement": "arrangements",
            "background": "backgrounds",
        }.items()
    },
    "z.count": ("z has the captioned count", "share of z with as many boxes as captioned objects"),
    "z.shapes": ("z has the captioned shapes", "share of z with these shapes, in any number"),
    "z.agrees": ("z agrees with the caption", "share of z with exactly the captioned objects"),
    "entropy.colour": ("Colour entropy", "nats, given the shape; depends on the caption"),
    "entropy.texture": ("Texture entropy", "nats, given the shape; depends on the caption"),
    "entropy.place": ("Place entropy", "nats over a 3 by 3 grid, given the shape"),
    "entropy.arrangement": ("Arrangement entropy", "nats, given the count; depends on the caption"),
    "entropy.size": ("Size entropy", "nats; independent of the caption"),
    "entropy.background": ("Background entropy", "nats; independent of the caption"),
    **{
        f"entropy.{factor}.real": (
            f"{factor.capitalize()} entropy of real pictures",
            "nats, over as many real pictures as the model has valid pictures",
        )
        for factor in FACTORS
    },
    **{
        f"coverage.{factor}": (f"{title} covered", f"expected share of the {known} in 8 draws")
        for factor, (title, known) in {
            "colour": ("Colours", "known ones"),
            "texture": ("Textures", "known ones"),
            "place": ("Places", "9"),
            "arrangement": ("Arrangements", "known ones"),
            "size": ("Sizes", "known ones"),
            "background": ("Backgrounds", "known ones"),
        }.items()
    },
}
"""Name of a metric or of a judge's accuracy -> its title and explanation."""

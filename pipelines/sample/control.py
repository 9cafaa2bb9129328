"""Drawing z that must hold something: given parts, required objects, barred colours.

A mask keeps each token within what can still be met, so no z is lost; but what it leaves is not the
prior's distribution given the requirement, because it does not know how unlikely it made the rest.
So a free draw that happens to meet all is taken where one comes soon, which is exactly that
distribution, and otherwise one of several masked draws, with weights that correct the mask.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np

from pipelines.core.errors import KaleidoError
from pipelines.documents.colour_words import NEAR
from pipelines.latents.base import Latent
from pipelines.latents.grammar.barred import BarredColours
from pipelines.latents.grammar.fixed import FixedPart
from pipelines.latents.grammar.items import ItemGrammar
from pipelines.latents.grammar.part import PartGrammar
from pipelines.latents.grammar.required import Required, RequiredItems
from pipelines.latents.sequence import order_kinds, z_from_text, z_to_text
from pipelines.latents.text import DEFAULT_ORDER, LatentError
from pipelines.latents.vocabulary import encode_label, encode_z
from pipelines.latents.z_grammar import Grammar
from pipelines.models.conditioning import States
from pipelines.models.prior import Prior
from pipelines.sample.candidates import (
    ChosenZ,
    Wanted,
    are_sound,
    draw_sound_z,
    first_passing,
    seed_of,
)
from pipelines.sample.choice import Decoding
from pipelines.sample.decode import ROWS, Row, draw_rows
from pipelines.sample.likelihood import log_masses
from pipelines.sample.requests import read_requests
from pipelines.sample.requirements import (
    OBJECTS,
    Requirements,
    barred_colours,
    broken,
    require_possible,
)
from pipelines.workspace.settings import SampleSettings

ROUNDS = 8
"""Times that masked z are drawn before a requirement is given up that masks alone cannot ensure: a
colour of an object."""


PartMaker = Callable[[PartGrammar, int], PartGrammar]
"""(the usual automaton of a part, the id that ends it) -> its automaton."""


@dataclass(frozen=True)
class Control:
    """What z must hold.

    Attributes:
        wanted: The requirements.
        given: Latents that are given, by kind.
    """

    wanted: Requirements = Requirements()
    given: Mapping[str, Latent] = field(default_factory=dict)

    def of_kinds(self, known: Sequence[str]) -> Control:
        """Leave out given kinds that the models do not know.

        Raises:
            KaleidoError: If none is left.
        """
        given = {kind: latent for kind, latent in self.given.items() if kind in known}
        if self.given and not given:
            raise KaleidoError(
                ", ".join(self.given),
                f"nothing else is given, and these models know {', '.join(known)} only.",
                "Give one of those.",
                code="cannot-require",
            )
        return replace(self, given=given)

    def __bool__(self) -> bool:
        """Return whether anything is asked."""
        return bool(self.wanted or self.given)


UNCONTROLLED = Control()
"""Nothing is asked."""


def controlled_kinds(
    control: Control, usual: Sequence[str], asked: Sequence[str] | None
) -> tuple[str, ...]:
    """Return the kinds of z: those that are given, and those that are drawn.

    A kind that comes before a given one would be drawn without knowing it. It is left out, unless
    it was asked for; then the weights of the draws make up for it, as far as several draws can.

    Args:
        control: What is given.
        usual: Kinds that the models usually draw.
        asked: Kinds that the user asked for; None for the usual ones.
    """
    kinds = order_kinds({*(usual if asked is None else asked), *control.given})
    if asked is not None or not control.given:
        return kinds
    return kinds[min(kinds.index(kind) for kind in control.given) :]


def require_control(prior: Prior, kinds: Sequence[str], control: Control) -> Grammar:
    """Check that what is asked can be met, and return the grammar that masks what cannot.

    Raises:
        KaleidoError: ``cannot-require``, if it cannot.
    """
    require_possible(control.wanted, kinds, prior.labels)
    wrong = broken(control.wanted, control.given)
    if wrong:
        raise KaleidoError(
            f"the given {wrong[0]}",
            f"they break what is required: {', '.join(control.wanted.texts)}.",
            "Change one of the two.",
            code="cannot-require",
        )
    for kind, latent in control.given.items():
        try:
            prior.grammar((kind,)).walk(encode_z(prior.tokenizer, z_to_text({kind: latent})))
        except LatentError as error:
            why = f"the prior cannot write them: {error.why}"
            raise KaleidoError(f"the given {kind}", why, error.hint, "cannot-require") from error
    makers: dict[str, PartMaker] = {
        kind: partial(_fixed, prior, latent) for kind, latent in control.given.items()
    }
    if control.wanted.objects != Required():
        for kind in {cls.kind for cls in OBJECTS} - control.given.keys():
            makers[kind] = partial(_required, prior, control.wanted.objects)
    if control.wanted.barred and "palette" not in control.given:
        makers["palette"] = partial(_barred, control.wanted)
    try:
        return prior.grammar(kinds).replacing(makers)
    except LatentError as error:
        asked = ", ".join(control.wanted.texts)
        raise KaleidoError(
            f"the requirement {asked}", error.why, "Leave one out.", code="cannot-require"
        ) from error


def read_given(data: bytes, name: str) -> tuple[dict[str, Latent], str]:
    """Read the parts of z that are given, from a z document or a line of ``samples.jsonl``.

    Returns:
        Latents by kind, of all kinds that it holds, and its caption, which may be empty.

    Raises:
        InvalidDocument: If the document breaks a rule.
        KaleidoError: If it is neither, or holds no part of z.
    """
    requests = read_requests(data, name, DEFAULT_ORDER, needs_caption=False)
    if len(requests.items) != 1:
        raise KaleidoError(
            name, f"it holds {len(requests.items)} z.", "Give a file with one.", code="bad-data"
        )
    (item,) = requests.items
    return z_from_text(item.z), item.caption


def draw_controlled_z(
    prior: Prior,
    wanted: Sequence[Wanted],
    kinds: Sequence[str],
    settings: SampleSettings,
    control: Control,
) -> list[ChosenZ]:
    """Draw a z for each picture that holds what is asked.

    A picture whose z meets all without help keeps it: of up to ``z_candidates`` free draws the
    first that is sound and meets all is taken, as rejection sampling does. Where there is none,
    and where parts are given, at least as many masked draws are made. One is chosen with
    probability in proportion to its weight (`log_masses`): sampling importance resampling (Rubin
    1987), which tends to the distribution of rejection sampling as ``z_candidates`` grows.

    Raises:
        KaleidoError: ``cannot-require``, if it cannot be met; ``not-drawn``, if masks cannot ensure
            it and no draw met it.
    """
    if not control:
        return draw_sound_z(prior, wanted, kinds, settings)
    grammar = require_control(prior, kinds, control)

    def passes(
        captions: Sequence[States], texts: Sequence[str], settings: SampleSettings
    ) -> list[bool]:
        met = [not broken(control.wanted, z_from_text(text)) for text in texts]
        places = [place for place, ok in enumerate(met) if ok]
        chosen = [captions[i] for i in places], [texts[i] for i in places]
        sound = dict(zip(places, are_sound(prior, *chosen, settings), strict=True))
        return [sound.get(place, False) for place in range(len(texts))]

    found: dict[int, ChosenZ] = {}
    if not control.given:
        found, _ = first_passing(prior, wanted, kinds, settings, passes)
    for place, each in enumerate(wanted):
        if place not in found:
            found[place] = _masked(prior, each, grammar, settings, control)
    return [found[place] for place in range(len(wanted))]


def _masked(
    prior: Prior, wanted: Wanted, grammar: Grammar, settings: SampleSettings, control: Control
) -> ChosenZ:
    """Choose among masked draws, in proportion to their weights."""
    # Rows are decoded in groups of a fixed size, so fewer would cost as much.
    most, decoding = ROWS * -(-settings.z_candidates // ROWS), Decoding.of(settings)
    for turn in range(ROUNDS):
        numbers = range(turn * most, (turn + 1) * most)
        rows = [Row(wanted.encoded, seed_of(settings, wanted, "masked z", k)) for k in numbers]
        texts = draw_rows(prior, rows, grammar.kinds, decoding, grammar)
        texts = [text for text in texts if not broken(control.wanted, z_from_text(text))]
        if texts:
            captions = [wanted.encoded] * len(texts)
            sound = are_sound(prior, captions, texts, settings)
            kept = [text for text, ok in zip(texts, sound, strict=True) if ok] or texts
            weights = log_masses(prior, captions[: len(kept)], kept, grammar, decoding.temperature)
            rng = np.random.default_rng(seed_of(settings, wanted, "choice of z", 0))
            return ChosenZ(kept[resample(weights, rng)], (turn + 1) * most - 1)
    raise KaleidoError(
        f"{wanted.caption!r}, {', '.join(control.wanted.texts)}",
        f"none of {ROUNDS * most} z met it: the prior does not expect it of this caption.",
        "Ask for something likelier, say it in the caption too, or use a larger --z-candidates.",
        code="not-drawn",
    )


def resample(log_weights: Sequence[float], rng: np.random.Generator) -> int:
    """Choose a number with probability in proportion to its weight (the Gumbel-max trick)."""
    return int(np.argmax(np.asarray(log_weights) + rng.gumbel(size=len(log_weights))))


def _fixed(prior: Prior, latent: Latent, part: PartGrammar, end: int) -> FixedPart:
    return FixedPart(encode_z(prior.tokenizer, z_to_text({latent.kind: latent}))[1:], end)


def _required(prior: Prior, required: Required, part: PartGrammar, end: int) -> RequiredItems:
    assert isinstance(part, ItemGrammar)
    asked = [label for label, _ in (*required.needs, *required.exact)]
    labels = [label for label in prior.labels if label not in required.forbidden]
    ids = {name: tuple(encode_label(prior.tokenizer, name)) for name in labels or asked}
    return RequiredItems(part, required, ids, closed=bool(prior.labels))


def _barred(wanted: Requirements, part: PartGrammar, end: int) -> BarredColours:
    assert isinstance(part, ItemGrammar)
    return BarredColours(part, barred_colours(wanted), NEAR)

"""From caption to samples with real, tiny models."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from pipelines.core.errors import KaleidoError
from pipelines.latents.grid_shape import Shape
from pipelines.latents.sequence import z_from_text, z_to_text
from pipelines.latents.tokens import Tokens
from pipelines.models.diffusion import Diffusion
from pipelines.sample.bundle import Bundle
from pipelines.sample.decode import ROWS, decode
from pipelines.sample.draw import canonical_z, draw, draw_each, draw_from_z, draw_z_each
from pipelines.workspace.settings import SampleSettings

SETTINGS = SampleSettings(n=5, cfg=3.0, steps=3, seed=7, batch_size=5)


def _draw(bundle: Bundle, caption: str = "a star", **changes):
    return list(draw(bundle, caption, replace(SETTINGS, **changes)))


def test_pictures_do_not_depend_on_the_batch_size(bundle) -> None:
    whole, single = _draw(bundle), _draw(bundle, batch_size=1)
    for one, other in zip(whole, single, strict=True):
        assert one.z == other.z
        assert np.abs(one.pixels.astype(int) - other.pixels.astype(int)).max() <= 1


def test_a_sample_does_not_depend_on_how_many_are_drawn(bundle) -> None:
    few, many = _draw(bundle, n=2), _draw(bundle, n=5)
    assert [item.z for item in few] == [item.z for item in many[:2]]


def test_seed_caption_and_number_each_change_the_sample(bundle) -> None:
    samples = _draw(bundle) + _draw(bundle, seed=8) + _draw(bundle, "a circle")
    assert len({item.z for item in samples}) == 15
    assert len({item.pixels.tobytes() for item in samples}) == 15


def test_equal_seeds_give_equal_samples(bundle) -> None:
    for one, other in zip(_draw(bundle), _draw(bundle), strict=True):
        assert one.z == other.z
        assert np.array_equal(one.pixels, other.pixels)


def test_guidance_changes_pictures_but_not_z(bundle) -> None:
    weak, strong = _draw(bundle, cfg=1.0), _draw(bundle, cfg=7.5)
    assert [item.z for item in weak] == [item.z for item in strong]
    assert any(
        not np.array_equal(one.pixels, other.pixels)
        for one, other in zip(weak, strong, strict=True)
    )


def test_only_kinds_that_the_model_knows_can_be_chosen(bundle) -> None:
    assert bundle.drawing(["palette", "boxes"]).z_kinds == ("boxes", "palette")
    with pytest.raises(KaleidoError) as caught:
        bundle.drawing(["tokens"])
    assert caught.value.code == "model-mismatch"


def test_a_model_says_which_kinds_it_usually_draws(bundle, tmp_path) -> None:
    assert bundle.z_kinds == bundle.diffusion.z_kinds == ("boxes", "palette")
    bundle.diffusion.save(tmp_path)
    usual = Diffusion.load(tmp_path)
    usual.drawn_kinds = ("palette",)
    usual.save(tmp_path)
    fewer = replace(bundle, diffusion=Diffusion.load(tmp_path))
    assert fewer.z_kinds == ("palette",)
    assert fewer.drawing(["boxes"]).z_kinds == ("boxes",)


def test_z_reaches_the_picture(bundle) -> None:
    boxes, palette = (_draw(bundle.drawing([kind])) for kind in ("boxes", "palette"))
    assert boxes[0].z.startswith("<boxes>")
    assert palette[0].z.startswith("<palette>")
    assert not np.array_equal(boxes[0].pixels, palette[0].pixels)


def test_a_z_gives_the_picture_that_was_drawn_with_it(bundle) -> None:
    samples = _draw(bundle)
    texts = [item.z for item in samples]
    again = list(draw_from_z(bundle, "a star", texts, SETTINGS))
    for one, other in zip(samples, again, strict=True):
        assert (one.caption, one.index) == (other.caption, other.index)
        assert z_from_text(one.z) == z_from_text(other.z)
        assert np.array_equal(one.pixels, other.pixels)
    swapped = list(draw_from_z(bundle, "a star", texts[::-1], SETTINGS))
    assert not np.array_equal(swapped[0].pixels, samples[0].pixels)
    one_at_a_time = list(draw_from_z(bundle, "a star", texts, replace(SETTINGS, batch_size=2)))
    assert [item.index for item in one_at_a_time] == list(range(5))


def test_a_typed_z_is_rewritten_as_the_prior_writes_it(bundle) -> None:
    palette = "<palette> <500><500><500><1000>"
    boxes = "<boxes> star <100><100><400><400> <;> circle <500><500><900><900>"
    typed = "<boxes> star (100, 100, 400, 400); circle <500> <500><900><900>"
    (one,) = draw_from_z(bundle, "a star", [f"{boxes} {palette}"], SETTINGS)
    for text in (f" {palette}   {boxes}", f"{typed} {palette}"):
        (other,) = draw_from_z(bundle, "a star", [text], SETTINGS)
        assert one.z == other.z
        assert np.array_equal(one.pixels, other.pixels)


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("<boxes> star <100><100><400><400> , circle <500><500><900><900>", "bad-latent"),
        ("<boxes> star <400><100><100><400>", "bad-latent"),
        ("star <100><100><400><400>", "bad-latent"),
        ("", "bad-latent"),
        ("<blobs> star <500><500><100><100><0>", "model-mismatch"),
    ],
)
def test_a_z_that_the_model_cannot_read_is_refused(bundle, text: str, code: str) -> None:
    good = "<boxes> star <100><100><400><400>"
    with pytest.raises(KaleidoError) as caught:
        list(draw_from_z(bundle, "a star", [good, text], SETTINGS))
    assert caught.value.code == code


@pytest.mark.parametrize(
    ("asked", "code"),
    [(None, None), (Shape(2, 3, 512), None), (Shape(3, 2, 512), "model-mismatch")]
    + [(Shape(2, 3, 99), "model-mismatch"), (Shape(1, 6, 512), "model-mismatch")],
)
def test_tokens_need_the_shape_that_the_prior_was_trained_on(asked, code) -> None:
    text = z_to_text({"tokens": Tokens(2, 3, 512, tuple(range(6)))})
    bundle = SimpleNamespace(
        diffusion=SimpleNamespace(z_kinds=("tokens", "palette")),
        prior=SimpleNamespace(token_shape=asked),
    )
    palette = "<palette> <500><500><500><1000>"
    assert canonical_z(bundle, palette, 0) == palette
    if code is None:
        assert canonical_z(bundle, text, 0) == text
        return
    with pytest.raises(KaleidoError) as caught:
        canonical_z(bundle, text, 0)
    assert caught.value.code == code


def test_a_sample_of_which_nothing_was_rejected_says_so(bundle) -> None:
    given = draw_from_z(bundle, "a star", ["<boxes> star <100><100><400><400>"], SETTINGS)
    free = replace(SETTINGS, z_overlap=0.0, z_surprise=0.0)
    for sample in (*given, *draw(bundle, "a star", free)):
        assert (sample.rejected, sample.redrawn) == (0, 0)


def test_a_baseline_reads_no_z(bundle, tiny_diffusion) -> None:
    baseline = replace(
        bundle, diffusion=Diffusion(tiny_diffusion.context, tiny_diffusion.denoiser, (), "")
    )
    with pytest.raises(KaleidoError) as caught:
        list(draw_from_z(baseline, "a star", ["<boxes> star <100><100><400><400>"], SETTINGS))
    assert caught.value.code == "model-mismatch"


def test_z_and_noise_have_seeds_apart(bundle) -> None:
    def drawn(**seeds: int) -> tuple[list[str], np.ndarray]:
        samples = list(draw(bundle, "a circle", replace(SETTINGS, **seeds)))
        return [s.z for s in samples], np.stack([s.pixels for s in samples])

    z, pixels = drawn()
    same_z, other_pixels = drawn(noise_seed=1)
    assert same_z == z and not np.array_equal(other_pixels, pixels)
    assert drawn(z_seed=1)[0] == drawn(seed=SETTINGS.seed + 1)[0] != z
    # Both together are the next seed, in z and in noise.
    both, next_seed = drawn(z_seed=1, noise_seed=1), drawn(seed=SETTINGS.seed + 1)
    assert both[0] == next_seed[0] and np.array_equal(both[1], next_seed[1])


def test_a_given_z_takes_the_noise_of_the_numbered_sample(bundle) -> None:
    samples = list(draw(bundle, "a circle", SETTINGS))
    last = samples[-1]
    (again,) = draw_from_z(bundle, "a circle", [last.z], SETTINGS, [last.index])
    assert again.index == last.index and np.array_equal(again.pixels, last.pixels)
    (other,) = draw_from_z(bundle, "a circle", [last.z], SETTINGS)
    assert not np.array_equal(other.pixels, last.pixels)


def test_captions_are_decoded_together_as_they_are_alone(bundle, monkeypatch) -> None:
    captions = ["a star", "two circles", "fog", "three hearts on a red background", "a ring"]
    alone = [_draw(bundle, caption, n=2) for caption in captions]
    groups = []

    def counted(prior, rows, *rest):
        groups.append(len(rows))
        return decode(prior, rows, *rest)

    monkeypatch.setattr("pipelines.sample.decode.decode", counted)
    together = [list(each) for each in draw_each(bundle, captions, replace(SETTINGS, n=2))]
    assert groups == [ROWS]
    for first, second in zip(together, alone, strict=True):
        assert [(each.caption, each.index, each.z) for each in first] == [
            (each.caption, each.index, each.z) for each in second
        ]
        assert all(np.array_equal(a.pixels, b.pixels) for a, b in zip(first, second, strict=True))


@pytest.mark.parametrize(("count", "captions"), [(1, 16), (5, 16), (6, 8), (16, 1), (24, 2)])
def test_no_more_captions_are_read_ahead_than_fill_their_groups(
    tiny_prior, monkeypatch, count, captions
) -> None:
    drawn = []

    def noted(prior, rows, *rest):
        drawn.append(len(rows))
        return [""] * len(rows)

    monkeypatch.setattr("pipelines.sample.candidates.draw_rows", noted)
    each = draw_z_each(tiny_prior, ["a star"] * 40, ("palette",), SETTINGS, count)
    next(each)
    assert drawn == [captions * count]
    assert drawn[0] % ROWS == 0

"""The denoiser predicts clean images and is blind to padding."""

from __future__ import annotations

import torch
from diffusers.models.embeddings import get_2d_sincos_pos_embed
from safetensors.torch import load_file

from pipelines.core.fingerprint import fingerprint
from pipelines.embedded.paths import embedded_path
from pipelines.models.conditioning import Conditioning
from pipelines.models.denoiser.blocks import patch_positions
from pipelines.models.denoiser.network import KaleidoTransformer2DModel

FILE = "diffusion_pytorch_model.safetensors"
EVERYWHERE = (0.0, 0.0, 1.0, 1.0)


def _denoiser() -> KaleidoTransformer2DModel:
    torch.manual_seed(0)
    model = KaleidoTransformer2DModel(
        sample_size=16,
        patch_size=4,
        num_layers=2,
        num_attention_heads=2,
        attention_head_dim=16,
        context_dim=24,
    )
    torch.nn.init.normal_(model.proj_out.out.weight, std=0.1)
    return model.eval()


@torch.no_grad()
def _predict(
    model: KaleidoTransformer2DModel, context: torch.Tensor, mask: torch.Tensor
) -> torch.Tensor:
    noisy = torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    time = torch.tensor([200.0, 700.0])
    rects = torch.tensor(EVERYWHERE).expand(*mask.shape, 4)
    nameless = torch.zeros_like(mask).bool()
    return model(noisy, time, model.prepare(Conditioning(context, mask, rects, nameless)))


def test_output_is_an_image_and_starts_at_zero() -> None:
    fresh = KaleidoTransformer2DModel(
        sample_size=16, patch_size=4, num_layers=1, num_attention_heads=2, context_dim=24
    )
    out = _predict(fresh, torch.randn(2, 5, 24), torch.ones(2, 5))
    assert out.shape == (2, 3, 16, 16)
    assert not out.any()


def test_padded_context_changes_nothing() -> None:
    model = _denoiser()
    context = torch.randn(2, 7, 24, generator=torch.Generator().manual_seed(2))
    mask = torch.ones(2, 7)
    mask[:, 4:] = 0
    other = context.clone()
    other[:, 4:] = 50.0
    assert torch.equal(_predict(model, context, mask), _predict(model, other, mask))


def test_the_context_matters() -> None:
    model = _denoiser()
    mask = torch.ones(2, 3)
    one = _predict(model, torch.zeros(2, 3, 24), mask)
    two = _predict(model, torch.randn(2, 3, 24), mask)
    assert not torch.allclose(one, two)


def test_save_and_load_give_the_same_network(tmp_path) -> None:
    model = _denoiser()
    model.save_pretrained(tmp_path)
    loaded = KaleidoTransformer2DModel.from_pretrained(tmp_path).eval()
    context, mask = torch.randn(2, 3, 24), torch.ones(2, 3)
    assert torch.equal(_predict(model, context, mask), _predict(loaded, context, mask))
    assert (tmp_path / FILE).is_file()


def test_names_and_order_of_weights_are_those_of_saved_models() -> None:
    """Models and checkpoints are loaded by name, optimizer states by position."""
    names = [name for name, _ in _denoiser().named_parameters()]
    assert fingerprint(names)[:16] == "92c2566bef96189c"
    shipped = load_file(embedded_path("diffusion") / "denoiser" / FILE)
    assert set(names) == set(shipped)


@torch.no_grad()
def test_a_token_of_the_whole_picture_is_heard_alike_everywhere() -> None:
    model = _denoiser()  # 4 x 4 patches, 2 heads
    rects = torch.tensor([[EVERYWHERE, (0.5, 0.25, 0.75, 0.5)]])
    nameless = torch.zeros(1, 2, dtype=torch.bool)
    bias = model.prepare(
        Conditioning(torch.zeros(1, 2, 24), torch.ones(1, 2), rects, nameless)
    ).bias
    assert not bias[..., 0].any()
    assert not bias[:, 0].any()  # one head hears all tokens alike
    assert bias[0, 1, :, 1].view(4, 4).argmax() == 1 * 4 + 2  # row 1, column 2


@torch.no_grad()
def test_the_place_of_a_token_changes_the_picture() -> None:
    model = _denoiser()
    noisy = torch.randn(1, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    tokens, mask = torch.ones(1, 1, 24), torch.ones(1, 1)
    nameless = torch.zeros(1, 1, dtype=torch.bool)
    # One token only: its weight is 1 wherever it stands, so only the offsets can tell.
    here, there = (
        model(
            noisy,
            torch.tensor([500.0]),
            model.prepare(Conditioning(tokens, mask, torch.tensor([[place]]), nameless)),
        )
        for place in ([0.0, 0.0, 0.5, 0.5], [0.5, 0.5, 1.0, 1.0])
    )
    assert not torch.allclose(here, there)


@torch.no_grad()
def test_a_name_is_drawn_on_the_layout() -> None:
    model = _denoiser()
    tokens, mask = torch.ones(1, 2, 24), torch.ones(1, 2)
    rects = torch.tensor([[[0.0, 0.0, 0.5, 0.5], [0.5, 0.5, 1.0, 1.0]]])
    none, first = (
        model.prepare(Conditioning(tokens, mask, rects, torch.tensor([names]))).layout
        for names in ([False, False], [True, False])
    )
    assert none.shape == (1, 48, 8, 8)  # at half the resolution
    assert not none.any()
    assert first[0, :, :4, :4].any()
    assert not first[0, :, 5:, 5:].any()


@torch.no_grad()
def test_repeated_contexts_say_the_same() -> None:
    model = _denoiser()
    tokens, mask = torch.randn(2, 3, 24), torch.ones(2, 3)
    rects = torch.rand(2, 3, 4).sort(-1).values
    prepared = model.prepare(Conditioning(tokens, mask, rects, torch.ones(2, 3, dtype=torch.bool)))
    noisy, time = torch.randn(2, 3, 16, 16), torch.tensor([200.0, 700.0])
    once = model(noisy, time, prepared)
    twice = model(noisy.repeat(2, 1, 1, 1), time.repeat(2), prepared.repeat(2))
    torch.testing.assert_close(twice, once.repeat(2, 1, 1, 1), rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_patches_are_named_only_where_that_is_asked(monkeypatch) -> None:
    model = _denoiser()
    tokens, mask = torch.randn(2, 3, 24), torch.ones(2, 3)
    rects = torch.rand(2, 3, 4).sort(-1).values
    prepared = model.prepare(Conditioning(tokens, mask, rects, torch.ones(2, 3, dtype=torch.bool)))
    noisy, time = torch.randn(2, 3, 16, 16), torch.tensor([200.0, 700.0])
    (clean,), predicted = model.predict_with_words(noisy, time, prepared)
    assert predicted.shape == (2, 16, 24)
    monkeypatch.setattr(model, "naming", None)
    assert torch.equal(model(noisy, time, prepared), clean)


@torch.no_grad()
def test_one_network_draws_pictures_of_any_shape() -> None:
    """A shape changes nothing in rows beside it, and z's places count in every shape."""
    model = _denoiser()
    tokens = torch.randn(1, 2, 24, generator=torch.Generator().manual_seed(3))
    names, mask, time = torch.tensor([[True, False]]), torch.ones(1, 2), torch.tensor([500.0])
    for shape in ((16, 16), (8, 32), (24, 12)):
        noisy = torch.randn(1, 3, *shape, generator=torch.Generator().manual_seed(1))

        def drawn(place, noisy=noisy, shape=shape) -> torch.Tensor:
            rects = torch.tensor([[place, EVERYWHERE]])
            prepared = model.prepare(Conditioning(tokens, mask, rects, names), shape)
            return model(noisy, time, prepared)

        left, right = drawn((0.0, 0.0, 0.5, 1.0)), drawn((0.5, 0.0, 1.0, 1.0))
        assert left.shape == noisy.shape
        change = (left - right).abs().mean((0, 1, 2))
        half = shape[1] // 2
        assert change[:half].mean() > 0.001 and change[half:].mean() > 0.001


def test_positions_of_the_square_are_those_that_were_saved() -> None:
    before = get_2d_sincos_pos_embed(32, 4, base_size=4, output_type="pt").float()
    found = patch_positions(32, (4, 4), 4, torch.device("cpu"))
    assert torch.equal(found[0], before)
    wide = patch_positions(32, (2, 8), 4, torch.device("cpu")).view(2, 8, 32)
    assert torch.equal(wide[0, 0], before[0]) and wide.isfinite().all()
    assert len(wide.flatten(0, 1).unique(dim=0)) == 16

"""The captioner writes any text, knows where it ends, and looks at the picture."""

from __future__ import annotations

import pytest
import torch

from pipelines.core.errors import InputMissing
from pipelines.extract.captioners.tiny import Captioner, build_captioner

TEXTS = ("a small red star at the top left; on fog.", "two blue circles.", "on slate.")


@pytest.fixture
def captioner() -> Captioner:
    torch.manual_seed(0)
    built = build_captioner(
        TEXTS, image_size=16, patch_size=8, width=16, layers=2, heads=2, max_tokens=12
    )
    built.model.eval()
    return built


@pytest.mark.parametrize("text", [*TEXTS, "été — «ツ»", "a  b", "x" * 300])
def test_any_text_can_be_written(captioner, text) -> None:
    ids = captioner.tokenize([text])[0]
    assert ids[0] == captioner.tokenizer.bos_token_id
    assert ids[-1] == captioner.tokenizer.eos_token_id
    assert captioner.tokenizer.decode(ids, skip_special_tokens=True).strip() == text


def test_padding_does_not_count(captioner) -> None:
    images = torch.randn(2, 3, 16, 16)
    short, both = captioner.tokenize(TEXTS[2:]), captioner.tokenize([TEXTS[2], TEXTS[0]])
    assert both.shape[1] > short.shape[1]
    alone = captioner.loss(images[:1], short)
    torch.testing.assert_close(captioner.loss(images[:1], both[:1]), alone)


def test_it_learns_which_picture_is_which(captioner) -> None:
    images = torch.stack([torch.full((3, 16, 16), value) for value in (-1.0, 0.0, 1.0)])
    ids = captioner.tokenize(TEXTS)
    optimizer = torch.optim.AdamW(captioner.model.parameters(), 1e-2)
    captioner.model.train()
    for _ in range(120):
        optimizer.zero_grad()
        captioner.loss(images, ids).backward()
        optimizer.step()
    captioner.model.eval()
    assert captioner.describe(images)[1:] == list(TEXTS[1:])
    assert TEXTS[0].startswith(captioner.describe(images[:1])[0])  # cut after twelve tokens


def test_its_identity_is_that_of_one_that_has_tokenized_nothing(captioner, tmp_path) -> None:
    captioner.save(tmp_path / "captioner")
    loaded = Captioner.load(tmp_path / "captioner")
    loaded.tokenize(TEXTS)
    loaded.save(tmp_path / "again")
    assert loaded.identity == captioner.identity


def test_saved_and_loaded_it_says_the_same(captioner, tmp_path) -> None:
    captioner.save(tmp_path / "captioner")
    loaded = Captioner.load(tmp_path / "captioner")
    images = torch.randn(2, 3, 16, 16)
    assert loaded.describe(images) == captioner.describe(images)
    assert (loaded.identity, loaded.image_size) == (captioner.identity, 16)
    captioner.max_tokens = 5
    captioner.save(tmp_path / "other")
    assert Captioner.load(tmp_path / "other").identity != loaded.identity


def test_a_folder_without_one_is_named(tmp_path) -> None:
    with pytest.raises(InputMissing, match="no captioner"):
        Captioner.load(tmp_path)

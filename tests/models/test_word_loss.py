"""Each patch learns the words of z whose rectangles contain it."""

import pytest
import torch

from pipelines.models.conditioning import EVERYWHERE
from pipelines.models.word_loss import word_loss, word_target

LEFT, RIGHT = (0.0, 0.0, 0.5, 1.0), (0.5, 0.0, 1.0, 1.0)
END, STAR, HEART, NUMBER = 1, 5, 7, 9


def target(ids, rects, names, side=2):
    return word_target(
        torch.tensor(ids), torch.tensor(rects), torch.tensor(names), nothing=END, grid=(side, side)
    )


def test_a_patch_is_given_the_words_whose_rectangle_holds_its_centre() -> None:
    found = target(
        [[STAR, NUMBER, HEART, END], [STAR, END, END, END]],
        [[LEFT, LEFT, RIGHT, EVERYWHERE], [LEFT, *[EVERYWHERE] * 3]],
        [[True, False, True, False], [True, False, False, False]],
    )
    assert found.words.tolist() == [END, STAR, HEART]
    star, heart, nothing = [0.0, 1.0, 0.0], [0.0, 0.0, 1.0], [1.0, 0.0, 0.0]
    assert found.share[0].tolist() == [star, heart, star, heart]  # rows of patches, from above
    assert found.share[1].tolist() == [star, nothing, star, nothing]
    assert found.known.tolist() == [True, True]


def test_words_that_share_a_patch_share_its_name() -> None:
    found = target([[STAR, HEART]], [[LEFT, LEFT]], [[True, True]])
    assert found.share[0, 0].tolist() == [0.0, 0.5, 0.5]


def test_an_item_as_large_as_the_picture_names_every_patch() -> None:
    found = target([[STAR, END]], [[EVERYWHERE, EVERYWHERE]], [[True, False]])
    assert found.share[0].tolist() == [[0.0, 1.0]] * 4


def test_a_row_without_names_counts_for_nothing() -> None:
    ids, rects = [[STAR, END], [END, END]], [[LEFT, EVERYWHERE], [EVERYWHERE, EVERYWHERE]]
    found = target(ids, rects, [[True, False], [False, False]])
    assert found.known.tolist() == [True, False]
    predicted, embeddings = torch.randn(2, 4, 3), torch.randn(2, 3)
    other = predicted.clone()
    other[1] = 0.0
    assert word_loss(predicted, found, embeddings) == word_loss(other, found, embeddings)
    nobody = target(ids[1:], rects[1:], [[False, False]])
    assert word_loss(predicted[1:], nobody, embeddings[:1]) == 0.0


def test_the_loss_is_a_cross_entropy_in_nats() -> None:
    found = target([[STAR, END]], [[LEFT, EVERYWHERE]], [[True, False]])
    embeddings = torch.eye(2)  # of nothing, of the star
    unsure = word_loss(torch.zeros(1, 4, 2), found, embeddings)
    assert unsure == pytest.approx(torch.log(torch.tensor(2.0)).item())
    right = 20.0 * torch.eye(2)[[1, 0, 1, 0]][None]
    assert word_loss(right, found, embeddings) < 1e-6


def test_repeated_rows_stay_in_order() -> None:
    found = target([[STAR], [HEART]], [[LEFT], [RIGHT]], [[True], [True]]).repeat(2)
    assert found.share.shape == (4, 4, 3)
    assert torch.equal(found.share[:2], found.share[2:])

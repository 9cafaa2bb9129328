"""`data check`: copies, leaks between splits, captions and licences."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from pipelines.core.errors import InputMissing
from pipelines.data.check import BITS, CROWD, CopyFinder, _bands, check_data, dhash
from pipelines.data.folder import write_folder
from pipelines.scenes.draw import draw_scene
from pipelines.scenes.generate import scene_of


def noise(seed, size=32) -> np.ndarray:
    cells = np.random.default_rng(seed).integers(0, 255, (8, 8, 3), np.uint8)
    return np.asarray(Image.fromarray(cells).resize((size, size), Image.Resampling.BICUBIC))


def as_jpeg(pixels, quality) -> np.ndarray:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=quality)
    return np.asarray(Image.open(buffer))


def test_a_copy_is_found_in_another_size_format_and_brightness():
    finder = CopyFinder()
    assert [finder.add(noise(seed)) for seed in range(30)] == [None] * 30
    assert finder.add(noise(7)) == 7
    assert finder.add(as_jpeg(noise(7, size=96), 85)) == 7
    assert finder.add(noise(7, size=80)) == 7
    assert finder.add(np.clip(noise(7).astype(int) + 4, 0, 255).astype(np.uint8)) == 7


def test_other_colours_are_no_copy_though_brightness_rises_alike():
    finder = CopyFinder()
    flat = np.zeros((16, 16, 3), np.uint8)
    assert finder.add(flat) is None
    assert dhash(flat) == dhash(flat + 90)
    assert finder.add(flat + 90) is None
    assert finder.add(flat + 2) == 0


def test_scenes_that_differ_are_no_copies_and_their_copies_are_found():
    finder = CopyFinder()
    pictures = [draw_scene(scene_of(0, index)[0], 64).pixels for index in range(150)]
    assert [finder.add(picture) for picture in pictures] == [None] * 150
    for index, picture in enumerate(pictures[:20]):
        assert finder.add(as_jpeg(picture, 90)) == index


def test_hashes_that_differ_in_few_bits_share_a_band():
    rng = np.random.default_rng(0)
    for _ in range(200):
        value = int(rng.integers(0, 2**63))
        flips = rng.choice(64, BITS, replace=False)
        near = value ^ sum(1 << int(bit) for bit in flips)
        assert set(_bands(value)) & set(_bands(near))


def smooth(index, side=32) -> np.ndarray:
    """Return a ramp from left to right and down, in one of many colours."""
    rng = np.random.default_rng(index)
    low, high = rng.integers(0, 120, 3), rng.integers(130, 255, 3)
    ramp = np.add.outer(np.linspace(0, 0.5, side), np.linspace(0, 0.5, side))[..., None]
    return (low + ramp * (high - low)).astype(np.uint8)


def test_smooth_pictures_are_compared_with_few_and_their_copies_are_found():
    finder = CopyFinder()
    hashes = {dhash(smooth(index)) for index in range(300)}
    assert len(hashes) < 10  # that is what makes them hard
    found = [finder.add(smooth(index)) for index in range(300)]
    assert max(map(len, finder._buckets.values())) <= CROWD
    assert sum(number is not None for number in found) < 12
    copies = [finder.add(as_jpeg(smooth(index, 64), 90)) for index in range(300)]
    assert sum(copy == index for index, copy in enumerate(copies)) > 290


def test_a_crowd_is_bounded_and_exact_copies_are_found_in_it():
    finder = CopyFinder()
    pictures = []
    for index in range(4 * CROWD):  # one hash, one mean colour, and cells far apart
        picture = np.full((16, 16, 3), 128, np.uint8)
        row, column = divmod(index, 16)
        picture[row, column], picture[row, (column + 1) % 16] = 255, 1
        pictures.append(picture)
        assert finder.add(picture) is None
    assert [finder.add(picture) for picture in pictures] == list(range(4 * CROWD))
    assert max(map(len, finder._buckets.values())) <= CROWD


def test_a_small_difference_makes_another_picture():
    finder = CopyFinder()
    face = np.full((64, 64, 3), 200, np.uint8)
    face[20:24, 20:24] = face[20:24, 40:44] = 0
    finder.add(face)
    wide_eyes = face.copy()
    wide_eyes[18:26, 18:26] = wide_eyes[18:26, 38:46] = 0
    assert finder.add(wide_eyes) is None


def test_more_images_than_fit_at_first():
    finder = CopyFinder()
    for seed in range(1100):
        finder.add(noise(seed, 9))
    assert finder.add(noise(1050, 9)) == 1050


@pytest.fixture
def checked(workspace, tmp_path):
    folder = tmp_path / "pictures"
    folder.mkdir()
    for index in range(40):  # a tenth is held out, by the file's hash: some copies cross over
        for copy in range(2):
            name = f"{index:02d}-{'ab'[copy]}"
            Image.fromarray(noise(index)).save(folder / f"{name}.png", compress_level=1 + copy)
            (folder / f"{name}.txt").write_text(f"picture {index if index else 'twice'} {copy}")
    (folder / "01-b.txt").write_text("picture 1 0")
    (folder / "02-a.txt").write_text("word")
    (folder / "broken.png").write_bytes(b"")
    (folder / "broken.txt").write_text("a star")
    write_folder(workspace, folder)
    return check_data(workspace)


def test_copies_and_leaks_are_named(checked):
    assert (checked.records, checked.failed) == (80, 1)
    assert [(copy.key, copy.of) for copy in checked.copies] == [
        (f"{index:02d}-b", f"{index:02d}-a") for index in range(40)
    ]
    assert [copy.key for copy in checked.copies if copy.same_caption] == ["01-b"]
    assert 0 < len(checked.leaks) < 20
    assert all(set(copy.splits) == {"train", "heldout"} for copy in checked.leaks)
    assert sum(checked.splits.values()) == 80


def test_captions_and_licences_are_counted(checked):
    assert checked.repeated == [("picture 1 0", 2)]
    assert checked.short == ["02-a"]
    assert checked.licences == {"unknown": 80}


def test_without_data_it_names_the_command(workspace):
    with pytest.raises(InputMissing) as caught:
        check_data(workspace)
    assert caught.value.code == "input-missing"

"""Pictures of any shape at the size of the data, and what that costs."""

from __future__ import annotations

import io
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from pipelines.core.errors import KaleidoError
from pipelines.data.check import check_data
from pipelines.data.fit import FitCounts, border_colour, fit_image, fits, target_size
from pipelines.data.folder import write_folder
from pipelines.workspace.config import override
from pipelines.workspace.manifest import encode_manifest, read_manifest
from pipelines.workspace.settings import DataSettings
from pipelines.workspace.shards import read_records
from pipelines.workspace.statistics import read_data_statistics, read_sizes


def wide() -> Image.Image:
    """Return 60 x 20 pixels: red, white and blue squares."""
    image = Image.new("RGB", (60, 20), (255, 255, 255))
    image.paste((255, 0, 0), (0, 0, 20, 20))
    image.paste((0, 0, 255), (40, 0, 60, 20))
    return image


def test_crop_takes_the_central_square():
    assert (np.asarray(fit_image(wide(), 10, "crop")) == 255).all()


def test_pad_keeps_the_whole_picture_in_the_middle():
    pixels = np.asarray(fit_image(wide(), 30, "pad"))
    assert pixels.shape == (30, 30, 3)
    assert tuple(pixels[15, 3]) == (255, 0, 0)
    assert tuple(pixels[15, 26]) == (0, 0, 255)
    border = np.array(border_colour(fit_image(wide(), 30, "keep")))
    assert (pixels[:10] == border).all()
    assert (pixels[20:] == border).all()
    tall = np.asarray(fit_image(wide().transpose(Image.Transpose.ROTATE_270), 30, "pad"))
    assert tuple(tall[3, 15]) == (255, 0, 0)


def test_the_border_is_the_median_of_the_outermost_pixels():
    image = Image.new("RGB", (4, 3), (10, 20, 30))
    image.paste((200, 200, 200), (1, 1, 3, 2))  # the inside does not count
    assert border_colour(image) == (10, 20, 30)
    image.putpixel((0, 0), (110, 20, 30))
    assert border_colour(image) == (10, 20, 30)  # one of ten outermost pixels
    assert border_colour(Image.new("RGB", (1, 5), (7, 8, 9))) == (7, 8, 9)


def test_keep_reduces_the_long_side_and_never_enlarges():
    assert fit_image(wide(), 30, "keep").size == (30, 10)
    assert fit_image(wide(), 60, "keep").tobytes() == wide().tobytes()
    assert fit_image(wide(), 100, "keep").size == (60, 20)
    assert fit_image(Image.new("RGB", (1, 3000)), 64, "pad").size == (64, 64)


def test_what_fits():
    assert fits((8, 8), 8, "pad")
    assert not fits((8, 6), 8, "pad")
    assert not fits((4, 4), 8, "crop")
    assert fits((8, 6), 8, "keep")
    assert not fits((9, 6), 8, "keep")


def test_the_share_is_that_of_the_pixels_themselves():
    """Cropped: of the picture's area; padded: of the square's. Both are counted from pixels."""
    counts = FitCounts()
    for size in ((60, 20), (20, 20), (30, 40)):
        counts.add(*size, "pad")
    assert (counts.pictures, counts.reshaped) == (3, 2)
    padded = [1 - 20 * 60 / 60**2, 1 - 30 * 40 / 40**2]
    cropped = [1 - 20**2 / (60 * 20), 1 - 30**2 / (30 * 40)]
    assert padded == pytest.approx(cropped)
    assert counts.share == pytest.approx(sum(padded) / 2)
    assert "2 of 3 pictures were padded" in counts.describe("pad", 64)[0]
    assert "46% of their area was cut away" in counts.describe("crop", 64)[0]
    assert FitCounts(5).describe("pad", 64) == []


@pytest.fixture
def folder(tmp_path):
    root = tmp_path / "pictures"
    root.mkdir()
    for name, image in (("wide", wide()), ("square", Image.effect_noise((40, 40), 50))):
        image.save(root / f"{name}.png")
        (root / f"{name}.txt").write_text(f"a {name} picture")
    return root


def with_settings(workspace, **values):
    changes = {f"data.{key}": value for key, value in values.items()}
    return replace(workspace, settings=override(workspace.settings, changes))


def records_of(workspace):
    return {r.key: r for path in workspace.data_shards() for r in read_records(path)}


@pytest.mark.parametrize(
    ("fit", "shape"), [("pad", (30, 30)), ("crop", (30, 30)), ("keep", (10, 30))]
)
def test_the_setting_decides_and_the_run_says_what_it_cost(workspace, folder, invoke, fit, shape):
    said = invoke(
        *("data", "folder", str(folder), "--fit", fit, "--size", "30"),
        *("--workspace", str(workspace.root)),
    )
    record = records_of(workspace)["wide"]
    assert record.pixels.shape[:2] == shape
    assert record.meta["original_size"] == [60, 20]
    assert ("1 of 2 pictures" in said.err) == (fit != "keep")


def test_an_unknown_fit_is_refused(workspace):
    with pytest.raises(KaleidoError):
        with_settings(workspace, fit="stretch")


def test_pictures_that_differ_outside_of_the_centre_stay_different(workspace, tmp_path):
    root = tmp_path / "clefs"
    root.mkdir()
    for index, name in enumerate(("treble", "bass")):
        image = Image.new("RGB", (20, 60), (255, 255, 255))
        image.paste((0, 0, 0), (5, 25, 15, 35))
        image.paste((0, 0, 0), (5, 50 if index else 2, 15, 58 if index else 10))
        image.save(root / f"{name}.png")
        (root / f"{name}.txt").write_text(f"a {name} clef")
    write_folder(with_settings(workspace, fit="pad"), root)
    assert check_data(workspace).copies == []
    write_folder(with_settings(workspace, fit="crop"), root, overwrite=True)
    assert len(check_data(workspace).copies) == 1  # which is why it is not the default


def jpeg(seed, side=96, **options) -> bytes:
    cells = np.random.default_rng(seed).integers(0, 255, (12, 12, 3), np.uint8)
    image = Image.fromarray(cells).resize((side, side), Image.Resampling.BICUBIC)
    buffer = io.BytesIO()
    image.save(buffer, options.pop("form", "JPEG"), **options)
    return buffer.getvalue()


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP"])
def test_pictures_that_fit_are_stored_byte_for_byte(workspace, tmp_path, form):
    root = tmp_path / "pictures"
    root.mkdir()
    turned = Image.Exif()
    turned[0x0112] = 6
    files = {"plain": jpeg(1, form=form), "turned": jpeg(2, form=form, exif=turned.tobytes())}
    for name, data in files.items():
        (root / f"{name}.dat").write_bytes(data)
        (root / f"{name}.txt").write_text("a picture")
    write_folder(with_settings(workspace, image_size=96), root)
    records = records_of(workspace)
    assert records["plain"].image == files["plain"]
    assert records["turned"].image == files["turned"]  # turned whenever it is read
    with Image.open(io.BytesIO(files["turned"])) as image:
        upright = np.asarray(image.convert("RGB").transpose(Image.Transpose.ROTATE_270))
    assert (records["turned"].pixels == upright).all()


def photographs(folder, sizes):
    """Write a JPEG and its caption for each width and height."""
    folder.mkdir()
    for number, (width, height) in enumerate(sizes):
        data = jpeg(number, side=max(width, height))
        Image.open(io.BytesIO(data)).resize((width, height)).save(folder / f"{number}.jpg")
        (folder / f"{number}.txt").write_text(f"photograph {number}")
    return folder


def test_pictures_keep_size_and_bytes_by_default(workspace, tmp_path, invoke):
    """With a limit, larger ones are reduced, and the run says how many."""
    root = photographs(tmp_path / "photographs", [(96, 64), (50, 120), (300, 200)])
    command = ("data", "folder", str(root), "--workspace", str(workspace.root))
    assert "reduced" not in invoke(*command).err
    records = records_of(workspace)
    assert {key: r.image for key, r in records.items()} == {
        path.stem: path.read_bytes() for path in root.glob("*.jpg")
    }
    said = invoke(*command, "--max-pixels", "6144", "--overwrite").err
    assert "1 of 3 pictures were reduced to 6,144 pixels" in said
    records = records_of(workspace)
    assert records["0"].image == (root / "0.jpg").read_bytes()
    assert records["2"].pixels.shape == (64, 96, 3) and records["2"].image[:3] == b"\xff\xd8\xff"
    (shard,) = workspace.data_shards()
    assert read_sizes(read_data_statistics(workspace, shard)["sizes"]) == [
        (96, 64),
        (50, 120),
        (96, 64),
    ]


def test_sizes_of_shards_of_older_versions_are_read_from_the_pictures(workspace, tmp_path):
    write_folder(workspace, photographs(tmp_path / "photographs", [(96, 64), (96, 64), (50, 120)]))
    (shard,) = workspace.data_shards()
    found = read_data_statistics(workspace, shard)
    assert found["sizes"] == "96x64*2 50x120"
    manifest = read_manifest(shard)
    old = replace(manifest, statistics={"heldout": manifest.statistics["heldout"]})
    shard.with_suffix(".json").write_bytes(encode_manifest(old))
    assert read_data_statistics(workspace, shard) == found


@pytest.mark.parametrize("fit", ["keep", "pad", "crop"])
@given(st.tuples(st.integers(1, 400), st.integers(1, 400)), st.integers(64, 40_000))
def test_no_picture_has_many_more_pixels_than_the_limit(fit, shape, most):
    settings = DataSettings(fit=fit, max_pixels=most)
    size = target_size(shape, settings)
    image = fit_image(Image.new("RGB", shape), size, fit)
    assert image.width * image.height <= most + max(image.size)
    if shape[0] * shape[1] <= most and fit == "keep":
        assert image.size == shape
    assert fits(image.size, target_size(image.size, settings), fit) or fit == "keep"


def test_jpegs_of_the_right_size_take_no_more_room(workspace, tmp_path):
    root = tmp_path / "pictures"
    root.mkdir()
    total = 0
    for index in range(10):
        rng = np.random.default_rng(index)
        image = Image.fromarray(rng.integers(0, 255, (256, 256, 3), np.uint8))
        image.save(root / f"{index}.jpg", quality=95)
        (root / f"{index}.txt").write_text(f"noise number {index}")
        total += (root / f"{index}.jpg").stat().st_size
    write_folder(with_settings(workspace, image_size=256), root)
    written = sum(path.stat().st_size for path in workspace.data.iterdir())
    assert written <= 1.1 * total


def test_workers_write_the_same_bytes(tmp_path, workspace):
    root = tmp_path / "pictures"
    root.mkdir()
    for index in range(40):
        (root / f"{index}.jpg").write_bytes(jpeg(index, side=20 + index))
        (root / f"{index}.txt").write_text(f"picture {index}" if index % 7 else "")
    shards = []
    for workers in (1, 2):
        summary = write_folder(workspace, root, shard_size=25, workers=workers, overwrite=True)
        assert (summary.ok, summary.failed) == (34, 6)
        shards.append({path.name: path.read_bytes() for path in workspace.data.iterdir()})
        for path in workspace.data.iterdir():
            path.unlink()
    assert shards[0] == shards[1]


def test_padding_takes_the_colour_of_most_of_the_border():
    picture = Image.new("RGB", (40, 20), (255, 255, 255))
    picture.paste((200, 30, 30), (10, 5, 25, 20))  # a cut-out that stands on the lower edge
    padded = np.asarray(fit_image(picture, 40, "pad"))
    assert (padded[:10] == 255).all() and (padded[30:] == 255).all()

"""What pictures that are stored as they are say about their maker."""

from __future__ import annotations

import io

import pytest
from PIL import Image

from pipelines.core.image_parts import without_metadata
from pipelines.core.images import decode_image, names_place
from pipelines.workspace.shards import read_records
from pipelines.workspace.workspace import Workspace
from tests.core.test_images import scene

KINDS = ("JPEG", "PNG", "WEBP")


def picture(kind: str, with_place: bool = True) -> bytes:
    tags = Image.Exif()
    tags[0x010F] = "a camera"
    if with_place:
        tags[0x8825] = {1: "N", 2: (48.0, 51.0, 29.0)}
    buffer = io.BytesIO()
    options = {"lossless": True} if kind == "WEBP" else {}
    scene(12).resize((16, 16)).save(buffer, kind, exif=tags.tobytes(), **options)
    return buffer.getvalue()


@pytest.mark.parametrize("kind", KINDS)
def test_metadata_go_and_the_pixels_stay(kind):
    data = picture(kind)
    assert names_place(data) and b"a camera" in data
    bare = without_metadata(data)
    assert len(bare) < len(data) and b"a camera" not in bare
    assert not names_place(bare) and not dict(Image.open(io.BytesIO(bare)).getexif())
    assert (decode_image(bare) == decode_image(data)).all()
    assert without_metadata(bare) == bare


def test_a_webp_with_odd_chunks_keeps_its_pixels():
    data = picture("WEBP")
    odd = data + b"odd \x05\0\0\0abcde\0"
    odd = odd[:4] + (len(odd) - 8).to_bytes(4, "little") + odd[8:]
    bare = without_metadata(odd)
    assert int.from_bytes(bare[4:8], "little") == len(bare) - 8
    assert bare.endswith(b"abcde\0")
    assert (decode_image(bare) == decode_image(data)).all()


@pytest.mark.parametrize("kind", KINDS)
def test_other_exif_names_no_place(kind):
    assert not names_place(picture(kind, with_place=False))
    assert not names_place(picture(kind)[:40])


@pytest.mark.parametrize("kind", KINDS)
def test_data_folder_tells_of_places_and_strips_them(tmp_path, invoke, kind):
    folder = tmp_path / "in"
    folder.mkdir()
    data = picture(kind)
    for name in ("a", "b"):
        (folder / f"{name}.{kind.lower()}").write_bytes(data)
        (folder / f"{name}.txt").write_text("a picture")
    asked = ("data", "folder", str(folder), "--size", "16", "--workspace")
    kept, stripped = (Workspace.init(tmp_path / name) for name in ("kept", "stripped"))
    assert "2 pictures hold the place" in invoke(*asked, str(kept.root)).err
    assert "place" not in invoke(*asked, str(stripped.root), "--metadata", "strip").err
    for workspace, wanted in ((kept, data), (stripped, without_metadata(data))):
        records = list(read_records(workspace.data_shards()[0]))
        assert [record.image for record in records] == [wanted] * 2
        assert all((record.pixels == decode_image(data)).all() for record in records)
    # Data of before the setting are not made again.
    assert "2 pictures" not in invoke(*asked, str(kept.root)).err

"""Pictures of strangers: the pixels count, whatever the metadata beside them."""

from __future__ import annotations

import io
import struct
import time
import warnings
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms

from pipelines.core.colour_spaces import declared_profile
from pipelines.core.errors import BadRecord
from pipelines.core.image_parts import MAX_SCANS, split_image
from pipelines.core.images import MAX_SIDE, STORED, decode, decode_image, names_place, picture_size
from pipelines.core.inputs import LFS_POINTER
from pipelines.core.picture_formats import FORMATS, is_image

FUZZ = settings(max_examples=150, deadline=None)


def scene(side=16) -> Image.Image:
    rng = np.random.default_rng(7)
    cells = rng.integers(0, 255, (4, 4, 3), np.uint8)
    return Image.fromarray(cells).resize((side, side + 4), Image.Resampling.BILINEAR)


def encode(image: Image.Image, kind="PNG", **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def chunk(name: bytes, body: bytes, crc: int | None = None) -> bytes:
    crc = zlib.crc32(name + body) if crc is None else crc
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", crc)


def with_chunks(*chunks: bytes, image: Image.Image | None = None) -> bytes:
    """Put chunks behind the header of a PNG."""
    data = encode(image or scene())
    return data[:33] + b"".join(chunks) + data[33:]


def with_segment(marker: int, body: bytes) -> bytes:
    data = encode(scene(), "JPEG")
    return data[:2] + bytes([0xFF, marker]) + struct.pack(">H", len(body) + 2) + body + data[2:]


def exif(orientation: int) -> bytes:
    tags = Image.Exif()
    tags[0x0112] = orientation
    return tags.tobytes()


PIXELS = np.asarray(scene())
JPEG_PIXELS = np.asarray(Image.open(io.BytesIO(encode(scene(), "JPEG"))))


def zipped(size: int) -> bytes:
    return zlib.compress(bytes(size))


@pytest.mark.parametrize(
    "extra",
    [
        chunk(b"tEXt", b"workflow\0" + b"x" * 3_000_000),
        chunk(b"zTXt", b"workflow\0\0" + zipped(50_000_000)),
        chunk(b"iTXt", b"workflow\0\1\0\0\0" + zipped(50_000_000)),
        chunk(b"iTXt", b"XML:com.adobe.xmp\0"),
        chunk(b"iCCP", b"name\0\0" + zipped(30_000_000)),
        chunk(b"iCCP", b"name\0\0no zlib at all"),
        chunk(b"iCCP", b""),
        chunk(b"eXIf", b"MM\0*\xff\xff\xff\xff"),
        chunk(b"eXIf", b""),
        chunk(b"tIME", b"1", crc=1),
        chunk(b"tEXt", b"a\0b", crc=1),
        chunk(b"gAMA", b"", crc=1),
        chunk(b"pHYs", b"x"),
        chunk(b"tRNS", b"x"),
        chunk(b"tRNS", bytes(6), crc=1),
        chunk(b"sRGB", b""),
        chunk(b"abCd", b"x" * 100),
    ],
    ids=lambda extra: f"{extra[4:8].decode()}-{len(extra)}",
)
def test_no_ancillary_chunk_costs_the_pixels(extra):
    assert (decode_image(with_chunks(extra)) == PIXELS).all()


@FUZZ
@given(
    st.lists(
        st.tuples(
            st.sampled_from(
                [b"tEXt", b"zTXt", b"iTXt", b"iCCP", b"eXIf", b"gAMA", b"cHRM", b"sRGB", b"pHYs"]
                + [b"tIME", b"bKGD", b"hIST", b"sPLT", b"acTL", b"fcTL", b"cICP", b"xxXx"]
            ),
            st.one_of(
                st.binary(max_size=60),
                st.binary(max_size=40).map(lambda b: b"a\0\0" + zlib.compress(b)),
                st.binary(max_size=40).map(lambda b: b"XML:com.adobe.xmp\0" + b),
                st.binary(max_size=40).map(lambda b: b"Raw profile type exif\0" + b),
            ),
            st.one_of(st.none(), st.integers(0, 2**32 - 1)),
        ),
        max_size=5,
    )
)
def test_fuzzed_chunks_keep_the_pixels(chunks):
    data = with_chunks(*(chunk(*each) for each in chunks))
    pixels = decode_image(data)
    # A fuzzed orientation may be valid: then the picture is turned, and nothing is lost.
    assert pixels.shape in (PIXELS.shape, (16, 20, 3))
    if declared_profile(split_image(data).info, None):
        return  # so may fuzzed colours; they change the values
    assert sorted(pixels.reshape(-1, 3).tolist()) == sorted(PIXELS.reshape(-1, 3).tolist())


TIFF_BLOCK = st.one_of(
    st.binary(max_size=120),
    st.builds(
        lambda order, offset, entries, tail: (
            (b"II*\0" if order else b"MM\0*")
            + struct.pack("<I" if order else ">I", offset)
            + struct.pack("<H" if order else ">H", len(entries))
            + b"".join(struct.pack("<HHII" if order else ">HHII", *entry) for entry in entries)
            + tail
        ),
        st.booleans(),
        st.sampled_from([8, 8, 8, 0, 10**6, 2**32 - 1]),
        st.lists(
            st.tuples(
                st.sampled_from([0x0112, 0x8769, 0x8825, 0x011A, 0x9286, 0xA005, 0x927C, 1]),
                st.integers(0, 14),
                st.sampled_from([0, 1, 2, 8, 10**5, 2**32 - 1]),
                st.integers(0, 2**32 - 1),
            ),
            max_size=4,
        ),
        st.binary(max_size=30),
    ),
)


@FUZZ
@given(TIFF_BLOCK)
def test_fuzzed_exif_keeps_the_pixels(block):
    wanted = sorted(JPEG_PIXELS.reshape(-1, 3).tolist())
    pixels = decode_image(with_segment(0xE1, b"Exif\0\0" + block))
    assert sorted(pixels.reshape(-1, 3).tolist()) == wanted
    wanted = sorted(PIXELS.reshape(-1, 3).tolist())
    for kind, options in (("PNG", {}), ("WEBP", {"lossless": True})):
        pixels = decode_image(encode(scene(), kind, exif=b"Exif\0\0" + block, **options))
        assert sorted(pixels.reshape(-1, 3).tolist()) == wanted


@FUZZ
@given(st.sampled_from([*range(0xE0, 0xF0), 0xFE]), st.binary(max_size=80))
def test_fuzzed_segments_keep_the_pixels(marker, body):
    if marker in (0xE0, 0xEE):  # JFIF and Adobe decide the colours
        body = b"none" + body
    pixels = decode_image(with_segment(marker, body))
    assert pixels.shape == JPEG_PIXELS.shape
    assert (pixels == JPEG_PIXELS).all()


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
def test_orientation_is_applied_in_every_format(kind, orientation):
    corner = Image.new("RGB", (48, 32), (250, 250, 250))
    corner.paste((10, 10, 10), (0, 0, 16, 16))
    decoded = decode(encode(corner, kind, exif=exif(orientation)))
    pixels = np.asarray(decoded.image)
    assert pixels.shape[:2] == ((32, 48) if orientation < 5 else (48, 32))
    dark = {1: (0, 0), 2: (0, -1), 3: (-1, -1), 4: (-1, 0), 5: (0, 0), 6: (0, -1), 7: (-1, -1)}
    row, column = dark.get(orientation, (-1, 0))
    assert pixels[row, column].mean() < 60
    assert sum(pixels[r, c].mean() < 60 for r in (0, -1) for c in (0, -1)) == 1
    assert decoded.verbatim == (orientation == 1 and kind in STORED)
    assert decoded.keepable == (kind in STORED)
    if kind in STORED:
        assert picture_size(encode(corner, kind, exif=exif(orientation))) == decoded.image.size


def test_orientation_survives_beside_a_huge_chunk():
    extra = [chunk(b"tEXt", b"w\0" + b"x" * 3_000_000), chunk(b"eXIf", exif(6)[6:])]
    assert decode_image(with_chunks(*extra)).shape == (16, 20, 3)
    assert picture_size(with_chunks(*extra)) == (20, 16)


def test_orientation_as_imagemagick_writes_it():
    raw = f"\nexif\n{len(exif(6))}\n{exif(6).hex()}\n".encode()
    for name, body in ((b"tEXt", raw), (b"zTXt", b"\0" + zlib.compress(raw))):
        extra = chunk(name, b"Raw profile type exif\0" + body)
        assert decode_image(with_chunks(extra)).shape == (16, 20, 3)


def matrix_profile(primaries, gamma) -> bytes:
    """Build an ICC profile of three primaries (columns of XYZ, D50) and one gamma."""

    def fixed(*values):
        return struct.pack(f">{len(values)}i", *(round(v * 65536) for v in values))

    tags = {b"wtpt": b"XYZ \0\0\0\0" + fixed(0.9642, 1.0, 0.8249)}
    for name, column in zip((b"rXYZ", b"gXYZ", b"bXYZ"), primaries, strict=True):
        tags[name] = b"XYZ \0\0\0\0" + fixed(*column)
    curve = b"curv\0\0\0\0" + struct.pack(">IH", 1, round(gamma * 256)) + b"\0\0"
    tags |= dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), curve)
    tags[b"desc"] = b"desc\0\0\0\0" + struct.pack(">I", 2) + b"x\0" + bytes(78 + 8)
    tags[b"cprt"] = b"text\0\0\0\0x\0\0\0"
    table, body, offset = struct.pack(">I", len(tags)), b"", 128 + 4 + 12 * len(tags)
    for name, data in tags.items():
        data += bytes(-len(data) % 4)
        table += name + struct.pack(">II", offset + len(body), len(data))
        body += data
    size = offset + len(body)
    header = struct.pack(">I4sI4s4s4s", size, b"lcms", 0x02100000, b"mntr", b"RGB ", b"XYZ ")
    header += bytes(12) + b"acsp" + bytes(24) + bytes(4) + fixed(0.9642, 1.0, 0.8249)
    return header + bytes(128 - len(header)) + table + body


SRGB = ((0.4360, 0.2225, 0.0139), (0.3851, 0.7169, 0.0971), (0.1431, 0.0606, 0.7141))
ADOBE = ((0.6097, 0.3111, 0.0195), (0.2053, 0.6257, 0.0609), (0.1492, 0.0632, 0.7446))
P3 = ((0.5151, 0.2412, -0.0011), (0.2920, 0.6922, 0.0419), (0.1571, 0.0666, 0.7841))
COLOUR = (180, 90, 40)


def colour_in(primaries, gamma) -> tuple[int, ...]:
    """Write the sRGB colour `COLOUR` in another space, by the formulas."""
    srgb = np.array(COLOUR) / 255.0
    linear = np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)
    other = np.linalg.solve(np.array(primaries).T, np.array(SRGB).T @ linear)
    return tuple(round(255 * max(v, 0) ** (1 / gamma)) for v in other)


@pytest.mark.parametrize(
    ("primaries", "gamma"), [(ADOBE, 2.2), (P3, 2.2), (SRGB, 1.0)], ids=["adobe", "p3", "linear"]
)
@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP"])
def test_a_colour_is_the_same_in_every_profile(primaries, gamma, kind):
    stored = colour_in(primaries, gamma)
    assert max(abs(a - b) for a, b in zip(stored, COLOUR, strict=True)) > 8
    profile = matrix_profile(primaries, gamma)
    options = {"lossless": True} if kind == "WEBP" else {}
    image = Image.new("RGB", (8, 8), stored)
    decoded = decode(encode(image, kind, icc_profile=profile, **options))
    assert np.abs(np.asarray(decoded.image).astype(int) - COLOUR).max() <= 3
    assert not decoded.verbatim and decoded.keepable == (kind in STORED)
    image.putalpha(255)
    pixels = decode_image(encode(image, kind, icc_profile=profile, **options))
    assert np.abs(pixels.astype(int) - COLOUR).max() <= 3


def test_a_large_profile_in_a_jpeg_counts_too():
    profile = matrix_profile(ADOBE, 2.2) + bytes(200_000)  # in several blocks
    data = encode(Image.new("RGB", (8, 8), colour_in(ADOBE, 2.2)), "JPEG", quality=95)
    blocks = [profile[at : at + 60_000] for at in range(0, len(profile), 60_000)]
    for number, block in reversed(list(enumerate(blocks, 1))):
        body = b"ICC_PROFILE\0" + bytes([number, len(blocks)]) + block
        data = data[:2] + b"\xff\xe2" + struct.pack(">H", len(body) + 2) + body + data[2:]
    assert np.abs(decode_image(data).astype(int) - COLOUR).max() <= 4


def test_the_profile_of_srgb_changes_nothing():
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    decoded = decode(encode(scene(), icc_profile=profile))
    assert decoded.verbatim
    assert (np.asarray(decoded.image) == PIXELS).all()


@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
def test_a_profile_that_does_not_fit_costs_nothing(mode):
    profile = matrix_profile(ADOBE, 2.2)
    image = scene().convert(mode)
    kind = "TIFF" if mode == "CMYK" else "PNG"
    data = encode(image, kind, icc_profile=profile[:200] if mode == "RGB" else profile)
    assert (decode_image(data) == np.asarray(image.convert("RGB"))).all()


RAMP = np.linspace(0.0, 1.0, 256, dtype=np.float32).reshape(16, 16)


@pytest.mark.parametrize("low", [-5.0, 0.0, 1e-6, 1000.0])
@pytest.mark.parametrize("width", [1e-3, 1.0, 255.0, 1e30])
def test_float_pictures_are_scaled_by_their_range(low, width):
    values = (low + RAMP * width).astype(np.float32)
    if not np.ptp(values) > width / 2:
        pytest.skip("the range is lost in float32")
    grey = decode_image(encode(Image.fromarray(values), "TIFF"))[..., 0]
    steps = 1.0 + 255.0 * 1e-6 * max(abs(low), width) / width
    assert np.abs(grey.astype(float) - RAMP * 255).max() <= steps


def test_values_that_are_not_finite_are_ends_of_the_range():
    values = RAMP.copy()
    values[8, :3] = np.nan, np.inf, -np.inf
    grey = decode_image(encode(Image.fromarray(values), "TIFF"))[..., 0]
    assert grey[8, :3].tolist() == [0, 255, 0]
    assert np.abs(grey[:8].astype(float) - RAMP[:8] * 255).max() <= 1


@pytest.mark.parametrize("dtype", [np.int32, np.uint32])
def test_32_bit_pictures_are_scaled_by_their_range(dtype):
    info = np.iinfo(dtype)
    values = (info.min + RAMP.astype(np.float64) * (info.max - info.min)).astype(dtype)
    image = Image.fromarray(values.view(np.int32))
    data = encode(image, "TIFF")
    if dtype == np.uint32:  # the tag SampleFormat says signed, whatever Pillow is given
        signed, unsigned = (struct.pack("<HHIHH", 339, 3, 1, form, 0) for form in (2, 1))
        assert data.count(signed) == 1
        data = data.replace(signed, unsigned)
    grey = decode_image(data)[..., 0]
    assert np.abs(grey.astype(float) - RAMP * 255).max() <= 1


@pytest.mark.parametrize("values", [np.full((4, 4), 3.0), np.full((4, 4), np.nan)])
def test_values_without_a_range_are_refused(values):
    with pytest.raises(BadRecord):
        decode_image(encode(Image.fromarray(values.astype(np.float32)), "TIFF"))


def test_16_bits_keep_their_level():
    values = np.array([[0, 257 * 7], [257 * 128, 65535]], np.uint16)
    for kind in ("PNG", "TIFF", "PPM"):
        assert decode_image(encode(Image.fromarray(values), kind))[..., 0].tolist() == [
            [0, 7],
            [128, 255],
        ]


def test_16_bit_tiffs_with_white_at_zero_are_turned_round():
    values = np.array([[0, 257 * 7], [257 * 128, 65535]], np.uint16)
    data = encode(Image.fromarray(values), "TIFF", tiffinfo={262: 0})
    assert decode_image(data)[..., 0].tolist() == [[255, 248], [127, 0]]


def test_16_bit_tiffs_with_their_colours_apart_are_refused():
    """Pillow reads them without an error, in colours that they do not have."""
    data = encode(Image.fromarray(np.zeros((4, 4), np.uint16)), "TIFF", tiffinfo={284: 2})
    with pytest.raises(BadRecord):
        decode_image(data)


def test_a_transparent_level_of_16_bits_is_transparent():
    values = np.array([[0, 257 * 7], [257 * 128, 65535]], ">u2")
    rows = b"".join(b"\0" + row.tobytes() for row in values)
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 2, 2, 16, 0, 0, 0, 0))
    body = chunk(b"tRNS", struct.pack(">H", 257 * 7)) + chunk(b"IDAT", zlib.compress(rows))
    pixels = decode_image(b"\x89PNG\r\n\x1a\n" + header + body + chunk(b"IEND", b""))
    assert pixels[..., 0].tolist() == [[0, 255], [128, 255]]


def test_a_line_of_very_many_pixels_is_no_picture():
    """Pillow has no memory to resize it, which would end a run over thousands of pictures."""
    with pytest.raises(BadRecord):
        decode_image(encode(Image.new("1", (MAX_SIDE + 1, 1))))
    assert decode_image(encode(Image.new("1", (1, MAX_SIDE)))).shape == (MAX_SIDE, 1, 3)


def test_odd_metadata_are_not_warned_of():
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        names_place(with_segment(0xE1, b"Exif\0\0MM\0*\0\0\0\x08\xff\xff" + b"\1\x12\0\3" * 9))
    assert not told


WRITTEN = ("AVIF", "BMP", "DIB", "GIF", "ICO", "JPEG2000", "MSP", "PCX", "PNG", "PPM") + (
    *("QOI", "SGI", "TGA", "TIFF", "WEBP", "JPEG", "DDS", "XBM", "BLP"),
)


@pytest.mark.parametrize("kind", WRITTEN)
def test_every_format_is_told_by_its_content(kind):
    mode = {"MSP": "1", "XBM": "1", "BLP": "P"}.get(kind, "RGB")
    image = scene().resize((16, 16)).convert(mode)
    pixels = decode_image(encode(image, kind), name="picture.dat")
    wanted = np.asarray(image.convert("RGB")).astype(int)
    assert pixels.shape == (16, 16, 3)
    assert np.abs(pixels.astype(int) - wanted).mean() < 12
    assert kind in FORMATS


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "WEBP", "AVIF", "TIFF", "QOI", "JPEG2000"])
def test_the_first_bytes_tell_a_picture(kind):
    assert is_image(encode(scene(), kind)[:16])


@pytest.mark.parametrize(
    "head", [b"", b"a caption", b"P5 is a camera", b"%PDF-1.7", b"PK\3\4", b"\n"]
)
def test_other_files_are_no_pictures(head):
    assert not is_image(head)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (encode(scene())[:60], "damaged"),
        (encode(scene(), "JPEG")[:-20], "truncated"),
        (encode(scene(), "JPEG")[:100], "damaged"),
        (encode(scene())[:16] + b"xx" + encode(scene())[18:], "bad header checksum"),
        (b"\x89PNG\r\n\x1a\n" + bytes(40), "damaged"),
        (encode(scene(), "GIF")[:30], "damaged"),
        (encode(scene(), "WEBP")[:40], "damaged"),
        (b"no picture at all", "known format"),
        (LFS_POINTER + b"v1\noid sha256:12\nsize 9\n", "git-lfs"),
        (b"%!PS-Adobe-3.0\n%%BoundingBox: 0 0 9 9\nshowpage", "known format"),
    ],
)
def test_damage_is_told_in_pillows_words(data, words):
    with pytest.raises(BadRecord) as caught:
        decode_image(data)
    assert words in caught.value.why


def test_a_jpeg_of_very_many_scans_is_refused_at_once():
    data = encode(scene(64), "JPEG", progressive=True)
    start = data.index(b"\xff\xda")
    end = data.index(b"\xff", start + 20)
    while data[end + 1] == 0:
        end = data.index(b"\xff", end + 2)
    many = data[:start] + data[start:end] * 500 + data[end:]
    begun = time.monotonic()
    with pytest.raises(BadRecord) as caught:
        decode_image(many)
    assert "scans" in caught.value.why
    assert time.monotonic() - begun < 1.0
    assert 1 < split_image(data).scans <= MAX_SCANS


def test_animations_give_their_first_frame_and_are_not_verbatim():
    frames = [Image.new("RGB", (16, 16), (value, 60, 60)) for value in (10, 250)]
    for kind, options in (("PNG", {}), ("WEBP", {"lossless": True}), ("GIF", {}), ("AVIF", {})):
        data = encode(frames[0], kind, save_all=True, append_images=frames[1:], **options)
        decoded = decode(data)
        assert decoded.image.getpixel((0, 0))[0] < 20
        assert not (decoded.verbatim or decoded.keepable)


@pytest.mark.parametrize("mode", ["RGBA", "LA", "PA", "P"])
def test_alpha_is_composited_over_white(mode):
    image = Image.new("RGBA", (4, 4), (200, 0, 0, 0))
    image.putpixel((0, 0), (0, 0, 0, 255))
    options = {"transparency": 0} if mode == "P" else {}
    if mode == "P":
        image = Image.new("P", (4, 4), 0)
        image.putpalette([200, 0, 0, 0, 0, 0])
        image.putpixel((0, 0), 1)
    elif mode == "LA":
        image = image.convert("LA")
    decoded = decode(encode(image, "PNG", **options))
    pixels = np.asarray(decoded.image)
    assert (pixels[0, 0] < 10).all()
    assert (pixels[3, 3] == 255).all()
    assert not (decoded.verbatim or decoded.keepable)

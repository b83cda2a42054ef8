"""Every kind of file that cameras, editors and attackers make: right, or refused."""

from __future__ import annotations

import struct
import subprocess
import sys
import zlib
from functools import cache
from io import BytesIO
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms, PngImagePlugin

from atelier.photos.decoding import MAX_SCANS, Decoded, PhotoLimits, Refusal, decode
from atelier.photos.kinds import other_content
from atelier.photos.looking import look
from atelier.photos.report import Reason
from tests.fakes.world import photo
from tests.photos.pictures import mascot, saved

LIMITS = PhotoLimits()
ORIENTATION = 0x0112
SECRET = b"48.2082 N 16.3738 E"


def pixels(body: bytes) -> Image.Image:
    decoded = decode(body, LIMITS)
    assert isinstance(decoded, Decoded), decoded
    return decoded.pixels


def refusal(body: bytes, limits: PhotoLimits = LIMITS) -> Refusal:
    refused = decode(body, limits)
    assert isinstance(refused, Refusal)
    return refused


def corners(image: Image.Image) -> tuple[str, ...]:
    """Return the colours of the four corners by name: top left, top right, bottom left, right."""
    width, height = image.size
    places = [(5, 5), (width - 6, 5), (5, height - 6), (width - 6, height - 6)]
    names = {(1, 0, 0): "red", (0, 1, 0): "green", (0, 0, 1): "blue", (1, 1, 1): "white"}
    return tuple(names[tuple(level // 128 for level in image.getpixel(p))] for p in places)


def four_corners() -> Image.Image:
    image = Image.new("RGB", (120, 80), "white")
    image.paste((255, 0, 0), (0, 0, 60, 40))
    image.paste((0, 255, 0), (60, 0, 120, 40))
    image.paste((0, 0, 255), (0, 40, 60, 80))
    return image


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int, *before: bytes, data: bytes = b"") -> bytes:
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    data = data or zlib.compress((b"\0" + b"\x40\x80\xc0" * width) * height)
    return (
        b"\x89PNG\r\n\x1a\n"
        + header
        + b"".join(before)
        + chunk(b"IDAT", data)
        + chunk(b"IEND", b"")
    )


# orientation and metadata


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize(
    ("orientation", "seen"),
    [
        (1, ("red", "green", "blue", "white")),
        (2, ("green", "red", "white", "blue")),
        (3, ("white", "blue", "green", "red")),
        (4, ("blue", "white", "red", "green")),
        (5, ("red", "blue", "green", "white")),
        (6, ("blue", "red", "white", "green")),
        (7, ("white", "green", "blue", "red")),
        (8, ("green", "white", "red", "blue")),
        (9, ("red", "green", "blue", "white")),
        (0, ("red", "green", "blue", "white")),
    ],
)
def test_every_orientation_is_applied_and_a_wrong_one_is_none(kind, orientation, seen):
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    upright = pixels(saved(four_corners(), kind, exif=exif, quality=95))
    assert corners(upright) == seen
    assert upright.size == ((80, 120) if 5 <= orientation <= 8 else (120, 80))


def test_a_large_photo_that_lies_on_its_side_is_measured_upright():
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    body = saved(Image.new("RGB", (3000, 2000), "teal"), "JPEG", exif=exif)
    decoded = decode(body, LIMITS)
    assert isinstance(decoded, Decoded)
    assert decoded.pixels.size == (683, 1024)
    assert (decoded.source_width, decoded.source_height) == (2000, 3000)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_no_metadata_of_any_kind_survives(kind):
    exif = Image.Exif()
    exif[0x010E] = SECRET.decode()
    exif.get_ifd(0x8825)[1] = "N"
    exif.get_ifd(0x8825)[29] = SECRET.decode()
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    notes = PngImagePlugin.PngInfo()
    notes.add_text("Author", SECRET.decode())
    notes.add_text("Comment", SECRET.decode(), zip=True)
    notes.add_itxt("XML:com.adobe.xmp", SECRET.decode())
    more = {"pnginfo": notes} if kind == "PNG" else {"xmp": SECRET}
    if kind == "JPEG":
        more["comment"] = SECRET
    body = saved(mascot()[0], kind, exif=exif, icc_profile=profile, dpi=(300, 300), **more)
    assert SECRET in body
    looked = look("a", body + SECRET, LIMITS)
    assert looked.encoded is not None
    ours = looked.encoded.body
    assert SECRET not in ours
    kinds, at = [], 8
    while at < len(ours):
        (size,) = struct.unpack(">I", ours[at : at + 4])
        kinds.append(ours[at + 4 : at + 8])
        at += 12 + size
    assert set(kinds) == {b"IHDR", b"IDAT", b"IEND"}
    assert (at, kinds[-1]) == (len(ours), b"IEND")
    again = Image.open(BytesIO(ours))
    again.load()
    assert (dict(again.info), dict(again.getexif())) == ({}, {})


# kinds of pixels


KINDS = [
    ("JPEG", ("RGB", "L", "CMYK"), {"quality": 95}),
    ("JPEG", ("RGB", "L", "CMYK"), {"quality": 95, "progressive": True}),
    ("JPEG", ("RGB",), {"quality": 95, "subsampling": 0, "optimize": True}),
    ("PNG", ("RGB", "L", "P", "1", "RGBA", "LA", "I;16"), {}),
    ("WEBP", ("RGB", "RGBA"), {"lossless": True}),
    ("WEBP", ("RGB", "RGBA"), {"quality": 95}),
]


@pytest.mark.parametrize(
    ("kind", "mode", "options"),
    [(kind, mode, options) for kind, modes, options in KINDS for mode in modes],
)
def test_a_photo_in_any_mode_that_its_format_has_keeps_its_look(kind, mode, options):
    image = mascot()[0].resize((256, 256))
    grey = mode in {"L", "1", "LA", "I;16"}
    if mode == "I;16":
        body_image = Image.new("I;16", image.size)
        body_image.putdata([level * 257 for level in image.convert("L").tobytes()])
    else:
        body_image = image.convert(mode)
    decoded = pixels(saved(body_image, kind, **options))
    assert (decoded.mode, decoded.size) == ("RGB", (256, 256))
    expected = image.convert("L").convert("RGB") if grey else image
    far = 70 if mode == "1" else 40 if mode == "CMYK" else 25
    pairs = zip(decoded.resize((4, 4)).tobytes(), expected.resize((4, 4)).tobytes(), strict=True)
    assert max(abs(one - other) for one, other in pairs) < far


def test_sixteen_bit_colours_keep_their_tones():
    row = b"\0" + struct.pack(">HHH", 0x4000, 0x8000, 0xC000) * 64
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 64, 64, 16, 2, 0, 0, 0))
    data = chunk(b"IDAT", zlib.compress(row * 64))
    body = b"\x89PNG\r\n\x1a\n" + header + data + chunk(b"IEND", b"")
    assert pixels(body).getpixel((9, 9)) == (0x40, 0x80, 0xC0)


def test_a_large_drawing_of_any_mode_keeps_its_tones():
    size = (4400, 600)
    deep = Image.new("I;16", size, 40_000)
    assert pixels(saved(deep)).getpixel((9, 9)) == (156, 156, 156)
    keyed = Image.new("RGB", size, (250, 0, 0))
    keyed.paste((0, 0, 200), (0, 0, 2200, 600))
    body = saved(keyed, transparency=(250, 0, 0))
    assert pixels(body).getpixel((900, 9)) == (255, 255, 255)
    assert pixels(body).getpixel((100, 9)) == (0, 0, 200)
    palette = pixels(saved(keyed.convert("P", palette=Image.Palette.ADAPTIVE)))
    assert palette.getpixel((100, 9)) == (0, 0, 200)
    glass = Image.new("RGBA", size, (0, 0, 0, 0))
    glass.paste((0, 0, 200, 255), (0, 0, 2200, 600))
    fringe = pixels(saved(glass)).crop((500, 100, 524, 101))
    assert min(blue for _, _, blue in zip(*[iter(fringe.tobytes())] * 3, strict=True)) >= 190


def test_transparent_palettes_lie_on_white():
    image = Image.new("P", (64, 64), 0)
    image.putpalette([200, 0, 0, 0, 0, 200])
    image.paste(1, (0, 0, 32, 64))
    body = saved(image, transparency=0)
    assert pixels(body).getpixel((50, 9)) == (255, 255, 255)
    assert pixels(body).getpixel((9, 9)) == (0, 0, 200)


def test_a_colour_profile_is_applied_and_not_kept():
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
    wrong = saved(Image.new("RGB", (64, 64), (10, 200, 30)), icc_profile=profile)
    assert pixels(wrong).getpixel((9, 9)) == (10, 200, 30)
    right = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    assert pixels(saved(Image.new("RGB", (64, 64), (10, 200, 30)), icc_profile=right)).getpixel(
        (9, 9)
    ) == (10, 200, 30)


def test_of_several_pictures_in_a_camera_file_the_first_is_used():
    out = BytesIO()
    first, second = mascot()[:2]
    first.save(out, "MPO", save_all=True, append_images=[second], quality=95)
    assert Image.open(BytesIO(out.getvalue())).format == "MPO"
    small, wanted = pixels(out.getvalue()).resize((4, 4)), first.resize((4, 4))
    pairs = zip(small.tobytes(), wanted.tobytes(), strict=True)
    assert max(abs(one - other) for one, other in pairs) < 10


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_an_animation_is_refused_with_what_to_do(kind):
    frames = list(mascot()[:3])
    body = saved(frames[0], kind, save_all=True, append_images=frames[1:], duration=100)
    refused = refusal(body)
    assert refused.reason is Reason.ANIMATION
    assert "save the one picture" in refused.detail


@pytest.mark.parametrize(
    ("body", "word"),
    [
        (b"\x00\x00\x00\x18ftypheic", "HEIC"),
        (b"\x00\x00\x00\x1cftypmif1", "HEIC"),
        (b"\x00\x00\x00\x1cftypavif", "AVIF"),
        (b"\x00\x00\x00\x1cftypisom", "video"),
        (b"\x1aE\xdf\xa3\x00\x00", "video"),
        (b"GIF89a", "GIF"),
        (b"MM\x00*", "TIFF"),
        (b"\xff\x0a\x00", "JPEG XL"),
        (b"8BPS\x00", "Photoshop"),
        (b"BM6\x00", "BMP"),
        (b"PK\x03\x04", "ZIP"),
        (b"<svg xmlns=", "SVG"),
        (b"", "empty"),
    ],
)
def test_other_files_are_named_with_what_to_do(body, word):
    assert word in refusal(body).detail
    assert refusal(body).reason is Reason.NOT_AN_IMAGE
    assert any(do in other_content(body) for do in ("export", "send", "save", "unpack"))


# bombs


def test_a_bomb_is_refused_by_its_header():
    body = png(60_000, 60_000, data=zlib.compress(bytes(1000)))
    assert refusal(body).reason is Reason.TOO_LARGE


@pytest.mark.parametrize(
    ("kind", "size", "options"),
    [
        ("PNG", (6000, 4001), {"compress_level": 1}),
        ("WEBP", (4000, 4001), {"method": 0}),
        ("JPEG", (6000, 4001), {"progressive": True}),
    ],
)
def test_what_decodes_only_as_a_whole_has_the_lower_limit(kind, size, options):
    refused = refusal(saved(Image.new("L", size), kind, **options))
    assert refused.reason is Reason.TOO_LARGE
    assert f"{size[0]}×{size[1]} pixels" in refused.detail


def test_a_large_baseline_jpeg_is_decoded_at_an_eighth():
    assert pixels(saved(Image.new("L", (9000, 8000), 90), "JPEG")).size == (1024, 910)


def test_a_progressive_jpeg_of_too_many_scans_is_refused_before_decoding():
    body = saved(mascot()[0], "JPEG", progressive=True)
    scan = b"\xff\xda\x00\x08\x01\x01\x00\x01\x05\x01"
    assert refusal(body[:-2] + scan * (MAX_SCANS + 1) + body[-2:]).reason is Reason.TOO_LARGE
    assert isinstance(decode(body, LIMITS), Decoded)


@cache
def zlib_bomb() -> bytes:
    return zlib.compress(bytes(200_000_000), 9)


@pytest.mark.parametrize("kind", [b"iCCP", b"zTXt", b"iTXt"])
def test_a_bomb_in_the_notes_of_a_png_is_refused_or_never_unpacked(kind):
    bomb = zlib_bomb()
    middle = b"\x00\x01\x00\x00\x00" if kind == b"iTXt" else b"\x00\x00"
    body = png(64, 64, chunk(kind, b"note" + middle + bomb))
    looked = decode(body, LIMITS)
    assert isinstance(looked, Decoded) or looked.reason is Reason.TRUNCATED


def test_a_bomb_as_the_thumbnail_of_a_photo_is_never_opened():
    exif = Image.Exif()
    exif.get_ifd(1)[0x0201] = 0
    exif[0x010E] = "x" * 1000
    thumbnail = png(60_000, 60_000, data=zlib.compress(bytes(1000)))
    body = saved(mascot()[0], "JPEG", exif=exif.tobytes() + thumbnail)
    assert pixels(body).size == (512, 512)


MEASURE = """
import resource, sys
from atelier.photos.decoding import PhotoLimits
from atelier.photos.looking import look
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for path in sys.argv[1:]:
    with open(path, "rb") as file:
        look(path, file.read(), PhotoLimits())
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""


def looked_at_elsewhere(*photos: Path) -> subprocess.CompletedProcess[str]:
    """Look at photos in a process of their own, under Python's own filters of warnings."""
    return subprocess.run(
        [sys.executable, "-c", MEASURE, *map(str, photos)],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=True,
    )


def test_the_largest_photos_that_are_decoded_take_less_than_four_hundred_mebibytes(tmp_path):
    cases = {
        "png": ((6000, 4000), "PNG", {"compress_level": 1}),
        "webp": ((4000, 4000), "WEBP", {"method": 0}),
        "progressive": ((6000, 4000), "JPEG", {"progressive": True}),
        "jpeg": ((10_000, 8_000), "JPEG", {}),
    }
    for name, (size, kind, options) in cases.items():
        (tmp_path / name).write_bytes(saved(Image.new("RGB", size, "teal"), kind, **options))
    assert int(looked_at_elsewhere(*(tmp_path / name for name in cases)).stdout) < 400


# rubbish

FILES = {
    "PNG": saved(mascot()[0].resize((96, 64))),
    "palette": saved(mascot()[0].resize((96, 64)).convert("P")),
    "JPEG": saved(mascot()[0].resize((96, 64)), "JPEG", exif=Image.Exif()),
    "progressive": saved(mascot()[0].resize((96, 64)), "JPEG", progressive=True),
    "WEBP": saved(mascot()[0].resize((96, 64)), "WEBP"),
}
files = st.sampled_from(sorted(FILES))
BOUNDED = PhotoLimits(
    most_pixels=2_000_000, most_whole_pixels=2_000_000, most_webp_pixels=2_000_000
)
rubbish = settings(max_examples=150, deadline=None, derandomize=True)


def check(body: bytes) -> None:
    looked = look("a", body, BOUNDED)
    assert looked.verdict.accepted == (looked.encoded is not None) == (not looked.verdict.detail)


@rubbish
@given(st.binary(max_size=300), st.sampled_from([b"", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n"]))
@example(b"", b"RIFF\x00\x00\x00\x00WEBP")
def test_no_bytes_whatsoever_raise(noise, beginning):
    check(beginning + noise)


@rubbish
@given(files, st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 7)), max_size=6))
def test_no_flipped_bits_raise(name, flips):
    body = bytearray(FILES[name])
    for place, bit in flips:
        body[int(place * len(body))] ^= 1 << bit
    check(bytes(body))


@rubbish
@given(files, st.floats(0, 1), st.binary(max_size=40))
def test_no_truncation_raises_whatever_follows(name, share, tail):
    body = FILES[name]
    check(body[: int(share * len(body))] + tail)


@rubbish
@given(files, files, st.floats(0, 1), st.floats(0, 1))
def test_no_mixture_of_two_files_raises(one, other, cut, resume):
    first, second = FILES[one], FILES[other]
    check(first[: int(cut * len(first))] + second[int(resume * len(second)) :])


@rubbish
@given(
    st.integers(0, 2**32 - 1),
    st.integers(0, 2**32 - 1),
    st.sampled_from([1, 2, 4, 8, 16, 3]),
    st.sampled_from([0, 2, 3, 4, 6, 5]),
    st.integers(0, 2),
)
def test_no_png_header_raises_or_takes_what_it_promises(width, height, depth, colour, interlace):
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, interlace)
    body = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(999)))
    check(body)


@rubbish
@given(st.binary(max_size=200))
def test_notes_of_a_camera_that_do_not_read_refuse_no_photo(notes):
    body = saved(mascot()[0].resize((96, 64)), "JPEG", exif=b"Exif\x00\x00MM\x00*" + notes)
    assert look("a", body, BOUNDED).verdict.accepted


def test_broken_notes_of_a_camera_say_nothing_on_stderr(tmp_path):
    notes = b"Exif\x00\x00MM\x00*\x00\x00\x00\x08\x00\x03\x01\x12\x00\x03\x00\x00\xff\xff"
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(saved(mascot()[0].resize((96, 64)), "JPEG", exif=notes))
    assert looked_at_elsewhere(broken).stderr == ""


def test_the_same_photo_is_told_the_same_whatever_its_file_is_called():
    one, other = (look(name, photo(4, 256), LIMITS).verdict for name in ("a.png", "b.jpg"))
    assert (one.digest, one.notes) == (other.digest, other.notes)

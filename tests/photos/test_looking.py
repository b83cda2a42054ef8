"""What is said of one photo, and what our re-encoding of it is."""

from __future__ import annotations

import struct
import zlib
from io import BytesIO

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageCms, PngImagePlugin

from atelier.contracts.ids import digest_of
from atelier.photos.decoding import LONG_SIDE_PIXELS, Decoded, PhotoLimits, decode
from atelier.photos.kinds import sniff
from atelier.photos.looking import EncodedPhoto, Looked, judge_set, look, refused
from atelier.photos.report import Finding, PhotoVerdict, Reason, SetLimits
from tests.fakes.world import photo

LIMITS = PhotoLimits()
SET = SetLimits(least=2, most=4)


def encoded(looked: Looked) -> EncodedPhoto:
    assert looked.encoded is not None, looked.verdict.detail
    return looked.encoded


def pixels(body: bytes) -> Image.Image:
    decoded = decode(body, LIMITS)
    assert isinstance(decoded, Decoded), decoded
    return decoded.pixels


def saved(image: Image.Image, kind: str = "PNG", **options) -> bytes:
    out = BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_jpeg_png_and_webp_are_accepted_whatever_their_names_say(kind):
    looked = look("holiday.txt", photo(1, kind=kind), LIMITS)
    verdict = looked.verdict
    assert (verdict.accepted, verdict.width, verdict.height, verdict.notes) == (True, 64, 64, {})
    image = Image.open(BytesIO(encoded(looked).body))
    assert (image.format, image.mode) == ("PNG", "RGB")
    assert verdict.digest == digest_of(encoded(looked).body)


@pytest.mark.parametrize(
    ("body", "word"),
    [
        (b"", "no image"),
        (b"hello", "no image"),
        (b"\x00\x00\x00\x18ftypheic\x00\x00", "HEIC"),
        (saved(Image.new("RGB", (64, 64)), "GIF"), "GIF"),
        (saved(Image.new("RGB", (64, 64)), "TIFF"), "TIFF"),
        (b"%PDF-1.7 and so on", "PDF"),
    ],
)
def test_anything_else_is_no_image_and_is_told_what_it_is(body, word):
    verdict = look("a.png", body, LIMITS).verdict
    assert verdict.reason is Reason.NOT_AN_IMAGE
    assert word in verdict.detail


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_a_file_that_is_cut_short_anywhere_is_refused(kind):
    body = photo(1, kind=kind)
    for share in (0.3, 0.6, 0.9):
        verdict = look("a", body[: int(len(body) * share)], LIMITS).verdict
        assert verdict.reason is Reason.TRUNCATED, share


@given(st.binary(max_size=200), st.sampled_from(["PNG", "JPEG", "WEBP"]), st.data())
def test_no_bytes_whatsoever_raise(noise, kind, data):
    body = photo(1, kind=kind)
    at = data.draw(st.integers(0, len(body)))
    look("a", body[:at] + noise + body[at + len(noise) :], LIMITS)


def test_a_decompression_bomb_is_refused_by_its_header_before_it_is_decoded():
    side = 60_000
    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(bytes(1000)))]
    body = b"\x89PNG\r\n\x1a\n"
    for kind, data in chunks:
        body += struct.pack(">I", len(data)) + kind + data
        body += struct.pack(">I", zlib.crc32(kind + data))
    verdict = look("bomb.png", body, LIMITS).verdict
    assert verdict.reason is Reason.TOO_LARGE


def test_more_pixels_or_bytes_than_the_limits_are_too_large():
    few_pixels = PhotoLimits(most_pixels=64 * 64 - 1)
    assert look("a", photo(1), few_pixels).verdict.reason is Reason.TOO_LARGE
    few_bytes = PhotoLimits(most_bytes=len(photo(1)) - 1)
    assert look("a", photo(1), few_bytes).verdict.reason is Reason.TOO_LARGE


def test_a_side_below_the_limit_is_too_small_also_after_scaling_down():
    assert look("a", photo(1, 31), LIMITS).verdict.reason is Reason.TOO_SMALL
    strip = saved(Image.new("RGB", (8000, 100)))
    assert look("a", strip, LIMITS).verdict.reason is Reason.TOO_SMALL


def test_the_long_side_becomes_1024_pixels_and_small_photos_keep_their_size():
    assert pixels(saved(Image.new("RGB", (3000, 1500)))).size == (1024, 512)
    assert pixels(saved(Image.new("RGB", (1500, 3000)), "JPEG")).size == (
        512,
        LONG_SIDE_PIXELS,
    )
    assert pixels(saved(Image.new("RGB", (100, 70)))).size == (100, 70)


def test_the_orientation_that_a_camera_noted_is_applied():
    image = Image.new("RGB", (100, 50), "red")
    image.paste("blue", (0, 0, 50, 50))
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = pixels(saved(image, exif=exif))
    assert turned.size == (50, 100)
    assert turned.getpixel((25, 10)) == (0, 0, 255)


def test_no_metadata_survives():
    notes = PngImagePlugin.PngInfo()
    notes.add_text("Author", "a secret name")
    notes.add_itxt("XML:com.adobe.xmp", "a secret place")
    exif = Image.Exif()
    exif[0x010E] = "a secret place"
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    image = Image.open(BytesIO(photo(1)))
    body = saved(image, pnginfo=notes, exif=exif, icc_profile=profile)
    result = encoded(look("a", body, LIMITS)).body
    assert b"secret" in body
    kinds, at = set(), 8
    while at < len(result):
        (size,) = struct.unpack(">I", result[at : at + 4])
        kinds.add(result[at + 4 : at + 8])
        at += 12 + size
    assert kinds == {b"IHDR", b"IDAT", b"IEND"}


def test_transparency_is_laid_on_white():
    image = Image.new("RGBA", (64, 64), (255, 0, 0, 0))
    assert pixels(saved(image)).getpixel((0, 0)) == (255, 255, 255)


def test_grey_sixteen_bit_and_cmyk_photos_keep_their_tones():
    deep = saved(Image.new("I;16", (64, 64), 40_000))
    assert pixels(deep).getpixel((0, 0)) == (156, 156, 156)
    grey = saved(Image.new("L", (64, 64), 77))
    assert pixels(grey).getpixel((0, 0)) == (77, 77, 77)
    cyan = saved(Image.new("CMYK", (64, 64), (255, 0, 0, 0)), "JPEG")
    red, green, blue = pixels(cyan).getpixel((0, 0))
    assert red < 60
    assert min(green, blue) > 120


def test_a_broken_colour_profile_is_ignored():
    body = saved(Image.new("RGB", (64, 64), "red"), "JPEG", icc_profile=b"no profile")
    assert pixels(body).getpixel((0, 0)) == (254, 0, 0)


def test_the_same_photo_is_the_same_bytes_every_time():
    first, second = (encoded(look(name, photo(3), LIMITS)) for name in "ab")
    assert first.body == second.body
    assert first.digest == digest_of(first.body)


def test_a_photo_that_repeats_an_earlier_ones_pixels_names_it():
    report, used = judge_set(
        [look("a.png", photo(1), LIMITS), look("b", photo(2), LIMITS), look("c", photo(1), LIMITS)],
        SET,
    )
    assert [v.reason for v in report.photos] == [None, None, Reason.DUPLICATE]
    assert report.photos[2].same_as == "a.png"
    assert [photo.name for photo in used] == ["a.png", "b"]
    assert report.makes_a_model


def test_a_set_with_too_few_usable_photos_makes_no_model():
    report, _ = judge_set(
        [look("a", photo(1), LIMITS), refused("b", Reason.MISSING, "was never uploaded")], SET
    )
    assert report.findings == {Finding.TOO_FEW: "1 of 2 photos can be used; at least 2 are needed"}
    assert report.refused == {"b": "was never uploaded"}
    assert report.accepted == ("a",)


def test_a_set_with_too_many_photos_makes_no_model():
    report, _ = judge_set([look(str(n), photo(n), LIMITS) for n in range(5)], SET)
    assert list(report.findings) == [Finding.TOO_MANY]


def test_a_verdict_names_its_twin_exactly_when_it_is_a_duplicate():
    with pytest.raises(ValueError, match="same_as"):
        PhotoVerdict("a", Reason.DUPLICATE)


def test_only_content_tells_the_type():
    assert [sniff(photo(1, kind=kind)) for kind in ("PNG", "JPEG", "WEBP")] == [
        "PNG",
        "JPEG",
        "WEBP",
    ]

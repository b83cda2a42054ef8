"""What is said of one photo, and what our re-encoding of it is."""

from __future__ import annotations

from io import BytesIO

import pytest
from PIL import Image

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


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_a_file_that_is_cut_short_anywhere_is_refused(kind):
    body = photo(1, kind=kind)
    for share in (0.3, 0.6, 0.9):
        verdict = look("a", body[: int(len(body) * share)], LIMITS).verdict
        assert verdict.reason is Reason.TRUNCATED, share


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

"""What is said of a set: of photos that show the same one is kept; what would be better."""

from __future__ import annotations

import random
import struct
import zlib
from functools import cache

import pytest
from PIL import Image

from atelier.photos.decoding import PhotoLimits
from atelier.photos.looking import (
    Looked,
    SetLook,
    judge_set,
    look,
    refused,
    without_bodies,
)
from atelier.photos.report import Advice, Finding, Note, Reason, SetLimits, SetReport
from tests.photos.pictures import blurred, cropped, mascot, saved

LIMITS = PhotoLimits(least_side_pixels=32, fine_side_pixels=64)
SET = SetLimits(least=4, most=50)


def looked(name: str, image: Image.Image, kind: str = "PNG", **options: object) -> Looked:
    return look(name, saved(image, kind, **options), LIMITS)


def bomb() -> bytes:
    """Return a PNG whose header promises 3,600 million pixels."""
    body = bytearray(saved(mascot()[0]))
    body[16:24] = struct.pack(">II", 60_000, 60_000)
    body[29:33] = struct.pack(">I", zlib.crc32(body[12:29]))
    return bytes(body)


def report(*photos: Looked) -> SetReport:
    return judge_set(photos, SET)[0]


@cache
def ten() -> tuple[Looked, ...]:
    return tuple(looked(f"{n:02d}.png", image) for n, image in enumerate(mascot(), 1))


def kept_for(told: SetReport) -> dict[str, str | None]:
    return {v.name: v.same_as for v in told.photos if v.reason is Reason.DUPLICATE}


def test_ten_different_photos_are_used_without_a_word():
    told = report(*ten())
    assert len(told.accepted) == 10
    assert (told.findings, told.advice, told.notes, told.refused) == ({}, {}, {}, {})


@pytest.mark.parametrize("order", range(6))
def test_the_largest_then_the_sharpest_then_the_least_compressed_is_kept(order):
    image = mascot()[0]
    photos = [
        looked("small", image.resize((300, 300))),
        looked("soft", blurred(image, 0.004)),
        looked("squeezed", image, "JPEG", quality=40),
        looked("best", image),
        *ten()[1:5],
    ]
    random.Random(order).shuffle(photos)
    told = report(*photos)
    assert kept_for(told) == {"small": "best", "soft": "best", "squeezed": "best"}
    assert all("best" in told.refused[name] for name in ("small", "soft", "squeezed"))


def test_a_large_copy_that_is_blurred_does_not_replace_a_sharp_one_of_its_size():
    image = mascot()[3]
    told = report(looked("a", blurred(image, 0.005)), looked("b", image), *ten()[4:])
    assert kept_for(told) == {"a": "b"}


def test_the_same_file_twice_keeps_the_first():
    photos = ten()
    told = report(*photos, looked("again", mascot()[2]))
    assert kept_for(told) == {"again": "03.png"}
    assert told.refused["again"] == "shows exactly what 03.png shows"


def test_a_mirrored_copy_says_so():
    mirror = mascot()[5].transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    told = report(*ten(), looked("mirror", mirror, "JPEG", quality=80))
    assert kept_for(told) == {"mirror": "06.png"}
    assert "mirrored" in told.refused["mirror"]


def test_a_copy_of_a_photo_that_is_refused_is_judged_by_itself():
    told = report(looked("waved", blurred(mascot()[0], 0.03)), *ten())
    assert told.photos[0].reason is Reason.BLURRED
    assert kept_for(told) == {}


def test_a_set_of_one_photo_many_times_is_told_that_it_is_all_alike():
    image = mascot()[0]
    copies = [looked(f"{q}.jpg", image, "JPEG", quality=q) for q in range(30, 90, 10)]
    told = report(*copies)
    assert set(told.findings) == {Finding.TOO_FEW, Finding.ALL_ALIKE}
    assert "5 of 6 photos only repeat others" in told.findings[Finding.ALL_ALIKE]
    assert not told.makes_a_model
    assert told.advice == {}


def test_a_set_that_lacks_photos_for_other_reasons_is_not_called_alike():
    told = report(*ten()[:3], refused("d", Reason.MISSING, "never came"))
    assert set(told.findings) == {Finding.TOO_FEW}


def test_photos_of_much_the_same_view_make_a_model_and_are_told_of():
    image = mascot()[0]
    burst = [looked(str(n), image.crop((n * 6, n, n * 6 + 450, n + 450))) for n in range(8)]
    told = report(*burst)
    assert told.makes_a_model
    assert Advice.FEW_VIEWS in told.advice


def test_few_photos_make_a_model_and_are_told_of():
    told = report(*ten()[:5])
    assert told.makes_a_model
    assert set(told.advice) == {Advice.FEW_PHOTOS}


def test_small_photos_are_noted_and_most_of_them_small_is_advice():
    small = [looked(str(n), image.resize((60, 60))) for n, image in enumerate(mascot())]
    told = report(*small)
    assert set(told.advice) == {Advice.LOW_RESOLUTION}
    assert all(set(photo.notes) == {Note.SMALL} for photo in told.photos)
    assert told.notes["0"] == "small: 60×60 pixels; the model draws 64"


def test_a_set_decodes_no_more_whole_pixels_than_it_may_and_says_what_to_do():
    few = SetLimits(least=1, most=50, most_whole_pixels=3 * 512 * 512)
    looks = SetLook(LIMITS, few)
    image = mascot()[0]
    assert looks.look("bomb.png", bomb()).verdict.reason is Reason.TOO_LARGE
    told = [looks.look("progressive.jpg", saved(mascot()[1], "JPEG", progressive=True)).verdict]
    told += [looks.look(f"{n}.png", saved(image.rotate(n))).verdict for n in range(3)]
    assert [verdict.accepted for verdict in told] == [True, True, True, False]
    assert told[-1].reason is Reason.TOO_LARGE
    assert "786,432 pixels" in told[-1].detail
    assert "baseline JPEG" in told[-1].detail


def test_baseline_jpegs_cost_a_set_nothing_of_its_pixels():
    looks = SetLook(LIMITS, SetLimits(least=1, most=50, most_whole_pixels=0))
    assert looks.look("a.jpg", saved(mascot()[0], "JPEG")).verdict.accepted


def test_a_photo_that_is_kept_in_two_framings_is_used_twice():
    told = report(*ten(), looked("close", cropped(mascot()[1], 0.3)))
    assert len(told.accepted) == 11


def test_a_report_without_bodies_says_the_same():
    photos = [*ten(), looked("again", mascot()[0], "JPEG", quality=50)]
    whole, used = judge_set(photos, SET)
    slim, empty = judge_set(without_bodies(photos), SET)
    assert whole == slim
    assert [photo.digest for photo in used] == [photo.digest for photo in empty]
    assert not any(photo.body for photo in empty)


def test_a_report_survives_its_own_writing():
    told = report(*ten(), looked("again", mascot()[0]), refused("x", Reason.MISSING, "never came"))
    assert SetReport.from_json(told.to_json()) == told

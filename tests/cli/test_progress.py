"""An onboarding as text: what people see while they wait. The golden files are to be read."""

from __future__ import annotations

from datetime import timedelta
from itertools import pairwise

import pytest

from app.cli.progress import ASCII, bar, changes, panel, span
from atelier.contracts.clock import from_iso
from tests.cli.platform import HALF, LIFE, QUEUED, REJECTED, START, TRAINING, onboarding, progress
from tests.conftest import Golden

SAVED = {"step-000050.png": "out/step-000050.png", "step-000100.png": "out/step-000100.png"}
FAILED = onboarding(("queued", 0), ("failed", 3.2), failure=REJECTED)
CANCELLED = onboarding(*TRAINING, ("cancelled", 9.0), progress=HALF)
TIMES = (0.3, 1.5, 4.0, 14.6, 26.0, 40.0)
AGAIN = onboarding(*TRAINING, attempt=2, progress=progress("stopped", 90))


def seen(document, *, after: float, width: int = 100, **more):
    now = from_iso(START) + timedelta(seconds=after)
    return "\n".join(panel(document, now=now, width=width, **more)) + "\n"


def test_each_look_at_an_onboarding_that_goes_well(golden: Golden):
    looks = [seen(look, after=t, saved=SAVED) for look, t in zip(LIFE, TIMES, strict=True)]
    golden("panel.txt", "\n".join(looks))


def test_looks_at_what_goes_another_way(golden: Golden):
    looks = [
        seen(FAILED, after=60),
        seen(CANCELLED, after=60),
        seen(AGAIN, after=8),
        seen(LIFE[3], after=14.6, width=72),
        seen(LIFE[3], after=14.6, marks=ASCII),
    ]
    golden("panel-otherwise.txt", "\n".join(looks))


def test_the_same_life_line_by_line(golden: Golden):
    lines: list[str] = []
    before = None
    for look, seconds in zip(LIFE, TIMES, strict=True):
        now = from_iso(START) + timedelta(seconds=seconds)
        lines += changes(before, look, now=now, saved=SAVED)
        before = look
    now = from_iso(START) + timedelta(seconds=3.5)
    lines += ["", *changes(None, FAILED, now=now), "", *changes(None, CANCELLED, now=now)]
    golden("lines.txt", "\n".join(lines) + "\n")


def test_nothing_new_is_no_line():
    for look in LIFE:
        assert changes(look, look, now=from_iso(START)) == []


def test_a_training_of_many_steps_is_told_in_tenths():
    looks = [onboarding(*TRAINING, progress=progress(step=step)) for step in range(251)]
    now = from_iso(START)
    lines = [line for a, b in pairwise(looks) for line in changes(a, b, now=now)]
    assert len(lines) == 10


def test_of_many_images_the_last_are_shown():
    names = [f"step-{step:06d}.png" for step in range(10, 130, 10)]
    many = seen(onboarding(*TRAINING, progress=progress(previews=names)), after=9)
    assert "and 6 earlier" in many
    assert "step 120" in many


@pytest.mark.parametrize("width", [60, 72, 80, 100, 200])
def test_no_line_is_wider_than_the_terminal(width):
    for look in (*LIFE, FAILED, AGAIN):
        assert all(len(line) <= width for line in seen(look, after=14, width=width).splitlines())


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.04, "0.0 s"),
        (12.34, "12.3 s"),
        (99.94, "99.9 s"),
        (100, "1 min 40 s"),
        (185, "3 min 05 s"),
        (5999.6, "1 h 40 min"),
        (7800, "2 h 10 min"),
    ],
)
def test_durations_are_as_exact_as_they_need_to_be(seconds, words):
    assert span(seconds) == words


def test_a_bar_is_full_only_at_the_end():
    assert bar(0, 250, 10, ASCII) == "----------"
    assert bar(249, 250, 10, ASCII) == "#########-"
    assert bar(250, 250, 10, ASCII) == "##########"
    assert bar(0, 0, 10, ASCII) == "----------"


def test_photos_that_training_leaves_out_are_told_once():
    used = {"used": 8, "left_out": {"note.jpg": "is no image"}}
    look = onboarding(*TRAINING, photos=used)
    line = "8 of 9 photos used; note.jpg: is no image"
    assert line in seen(look, after=9)
    now = from_iso(START)
    assert sum(line in told for told in changes(QUEUED, look, now=now)) == 1
    assert changes(look, look, now=now) == []


def test_photos_that_could_be_better_are_named_the_first_few_and_advice_follows():
    notes = {f"{n}.jpg": "dark" for n in range(6)}
    photos = {"used": 9, "left_out": {}, "notes": notes, "advice": ["take more"]}
    told = seen(onboarding(*TRAINING, photos=photos), after=9)
    assert "0.jpg: dark" in told
    assert "3.jpg: dark" in told
    assert "4.jpg" not in told
    assert "and 2 more photos that could be better" in told
    assert "take more" in told


def test_several_photos_that_are_left_out_have_a_line_each():
    photos = {"used": 7, "left_out": {"a.jpg": "too dark", "b.jpg": "blurred"}}
    told = changes(QUEUED, onboarding(*TRAINING, photos=photos), now=from_iso(START))
    at = next(n for n, line in enumerate(told) if line.endswith("7 of 9 photos used"))
    assert [line.split("  ")[-1].strip() for line in told[at + 1 : at + 3]] == [
        "a.jpg: too dark",
        "b.jpg: blurred",
    ]


@pytest.mark.parametrize("photos", [None, {"used": 9, "left_out": {}}])
def test_when_no_photo_is_left_out_nothing_is_said_of_it(photos):
    assert "used" not in seen(onboarding(*TRAINING, photos=photos), after=9)


def test_another_attempt_is_told_with_its_states_anew():
    before = onboarding(*TRAINING)
    after = {**onboarding(("queued", 9), ("claimed", 9.5)), "attempt": 2}
    told = changes(before, after, now=from_iso(START) + timedelta(seconds=10))
    assert [" ".join(line.split()[2:4]) for line in told] == [
        "its training",
        "queued waits",
        "claimed has",
    ]

"""An onboarding as lines of text: a pure function of the API's document, for terminal and logs.

    panel     the whole onboarding as it stands now: redrawn in a terminal
    changes   what is new since the last look: printed line by line where nothing can be redrawn

Documents are those of `GET /v1/onboardings/{id}`.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from app.cli.hints import hint
from atelier.contracts.clock import from_iso
from atelier.contracts.errors import CallerError, descendants
from atelier.contracts.status import TERMINAL, Status

Document = Mapping[str, Any]

WAY: Final = (
    Status.QUEUED,
    Status.CLAIMED,
    Status.LAUNCHING,
    Status.TRAINING,
    Status.TRAINED,
    Status.PUBLISHING,
    Status.READY,
)
"""The statuses of an onboarding that goes well, in order."""

MEANING: Final[Mapping[str, str]] = {
    "queued": "waits for its turn",
    "claimed": "has a place in a training job",
    "launching": "its training job is starting",
    "training": "trains",
    "trained": "adapter and samples are there",
    "publishing": "the model is being published",
    "ready": "can be drawn with",
    "failed": "ended without a model",
    "cancelled": "was cancelled",
    "erased": "was erased",
}

DOING: Final[Mapping[str, str]] = {
    "waiting": "waits until its host is ready",
    "preparing": "prepares the photos",
    "training": "",
    "sampling": "draws the sample images",
    "done": "",
    "failed": "failed on its host",
    "stopped": "stopped; goes on from its last checkpoint",
}
"""What a training host does, by progress.json's state."""

CALLERS_OWN: Final = frozenset(leaf.name() for leaf in descendants(CallerError))
"""Errors that come again when the same is asked again."""
ENDED: Final = frozenset(str(status) for status in TERMINAL)
NAME_WIDTH: Final = 12
TIME_WIDTH: Final = 12
MOST_BAR: Final = 28
LEAST_BAR: Final = 8
MOST_IMAGES: Final = 6
MOST_PHOTOS: Final = 4
TENTHS: Final = 10


@dataclass(frozen=True, slots=True)
class Marks:
    """The signs that lines are drawn with."""

    done: str
    current: str
    coming: str
    bad: str
    full: str
    empty: str
    arrow: str
    dot: str


UNICODE: Final = Marks("✓", "●", "·", "✗", "━", "─", "→", "·")
ASCII: Final = Marks("*", ">", ".", "x", "#", "-", "->", "-")


def panel(
    onboarding: Document,
    *,
    now: datetime,
    width: int = 100,
    saved: Mapping[str, str] | None = None,
    marks: Marks = UNICODE,
) -> list[str]:
    """Return the onboarding as it stands: state by state with times, training bar, previews, end.

    Args:
        onboarding: the API's document.
        now: for how long the present state lasts, UTC.
        width: of the terminal; no line is longer.
        saved: image name → where it was saved; such images are shown with their path.
        marks: signs to draw with.
    """
    lines = [_title(onboarding, marks)]
    lines += [f"  {line}" for line in (*_consent(onboarding), *_photos(onboarding))]
    stopped_short = onboarding["status"] in {Status.FAILED, Status.CANCELLED}
    for index, (status, seconds) in enumerate(_durations(onboarding, now)):
        present = status == onboarding["status"] and status not in ENDED
        if status in ENDED and status != Status.READY:
            mark, time = marks.bad, ""
        else:
            broken_off = stopped_short and index == len(onboarding["timeline"]) - 2
            mark = marks.current if present else marks.bad if broken_off else marks.done
            time = span(seconds) if status not in ENDED else f"after {span(seconds)}"
        lines.append(f"  {mark} {status:<{NAME_WIDTH}}{time:>{TIME_WIDTH}}".rstrip())
        if present and (what := _what(onboarding, width - NAME_WIDTH - TIME_WIDTH - 6, marks)):
            lines[-1] += f"  {what}"
        if status == Status.TRAINING:
            lines += _images(onboarding, saved or {})
    lines += [f"  {marks.coming} {status}" for status in _coming(onboarding)]
    lines = [line if len(line) <= width else line[: width - 1] + "…" for line in lines]
    # How it ended is told whole.
    return [
        *lines,
        *(part for line in ending(onboarding, marks=marks) for part in _wrap(line, width)),
    ]


def changes(
    before: Document | None,
    after: Document,
    *,
    now: datetime,
    saved: Mapping[str, str] | None = None,
    marks: Marks = UNICODE,
) -> list[str]:
    """Return lines for what happened between two looks, each with the time since the start.

    Args:
        before: what was known, or None at the first look.
        after: what is known now.
        now: when that is, UTC.
        saved: image name → where it was saved.
        marks: signs to draw with.
    """
    lines = [] if before else [_title(after, marks)]
    again = before is not None and before["attempt"] != after["attempt"]
    known = {entry["status"] for entry in before["timeline"]} if before and not again else set()
    entered = [entry for entry in after["timeline"] if entry["status"] not in known]
    # What a host does lies between the statuses before and after training.
    early = [entry for entry in entered if entry["status"] in WAY[: WAY.index(Status.TRAINING) + 1]]
    here = f"{_since_start(after, now)}  {'':<{NAME_WIDTH}}"
    if before is not None and again:
        # The timeline is the present attempt's; a person's retry has an execution of its own.
        lost = before["execution"] == after["execution"]
        why = "its training was lost" if lost else "somebody retried it"
        at = _since_start(after, from_iso(after["timeline"][0]["at"]))
        lines.append(f"{at}  {'':<{NAME_WIDTH}}{why}: attempt {after['attempt']} begins")
    lines += [_entry(after, entry) for entry in early]
    if (waiting := after["waiting_for"]) and (before is None or before["waiting_for"] != waiting):
        lines.append(f"{here}{waiting}")
    if (photos := _photos(after)) != _photos(before):
        lines += [f"{here}{line}" for line in photos]
    if _tenth(before) != _tenth(after) and (step := _step(after)):
        lines.append(f"{here}{step}")
    seen = set(_named_images(before)) if before else set()
    lines += [
        f"{here}{_image(name, saved or {})}" for name in _named_images(after) if name not in seen
    ]
    lines += [_entry(after, entry) for entry in entered if entry not in early]
    if after["status"] in ENDED and (before is None or before["status"] not in ENDED):
        lines += ending(after, marks=marks)
    return lines


def ending(onboarding: Document, *, marks: Marks = UNICODE) -> list[str]:
    """Return how an onboarding ended and what to do then; nothing while it is under way."""
    if onboarding["status"] not in ENDED:
        return []
    name = f"{onboarding['user_id']}/{onboarding['model']}"
    if onboarding["status"] == Status.READY:
        return [f"{name} is ready: {onboarding['version']}"]
    failure = onboarding["failure"]
    if not failure:
        return [f"{name} {MEANING[onboarding['status']]}."]
    if onboarding["status"] == Status.CANCELLED:
        lines = [f"{name} was cancelled."]
    else:
        lines = [f"{failure['error']}: {failure['message']}"]
        lines += reasons(failure["facts"], said=failure["message"])
        lines.append(f"{marks.arrow} {hint('onboard', failure['error'], failure['do'])}")
    if failure["error"] not in CALLERS_OWN:
        lines.append(f"{marks.arrow} Try it once more: atelier retry {onboarding['id']}")
    return lines


def _wrap(line: str, width: int) -> list[str]:
    """Return a line as lines of at most `width`, the later ones below its first word."""
    below = " " * (len(line) - len(line.lstrip()) + 2)
    return textwrap.wrap(line, width, subsequent_indent=below, break_on_hyphens=False)


def span(seconds: float) -> str:
    """Return a duration in words: `0.4 s`, `12.3 s`, `3 min 05 s`, `2 h 10 min`."""
    if seconds < 99.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 100:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"


def counted(number: int, thing: str) -> str:
    """Return `1 photo`, `2 photos`."""
    return f"{number} {thing}" if number == 1 else f"{number} {thing}s"


def bar(done: int, total: int, width: int, marks: Marks = UNICODE) -> str:
    """Return a bar of `width` signs, full up to done/total."""
    full = width * done // total if total else 0
    return marks.full * full + marks.empty * (width - full)


def _title(onboarding: Document, marks: Marks) -> str:
    attempt = f", attempt {onboarding['attempt']}" if onboarding["attempt"] > 1 else ""
    return (
        f"{onboarding['user_id']}/{onboarding['model']} {marks.dot} onboarding {onboarding['id']} "
        f"{marks.dot} {onboarding['preset']} on {onboarding['base']}{attempt}"
    )


def _entry(onboarding: Document, entry: Mapping[str, str]) -> str:
    at = _since_start(onboarding, from_iso(entry["at"]))
    return f"{at}  {entry['status']:<{NAME_WIDTH}}{MEANING[entry['status']]}"


def _durations(onboarding: Document, now: datetime) -> Iterator[tuple[str, float]]:
    """Yield each status with the seconds it lasted; an end with the seconds of the whole life."""
    entries = [(entry["status"], from_iso(entry["at"])) for entry in onboarding["timeline"]]
    for index, (status, at) in enumerate(entries):
        if status in ENDED:
            yield status, (at - from_iso(onboarding["created_at"])).total_seconds()
        else:
            until = entries[index + 1][1] if index + 1 < len(entries) else now
            yield status, max(0.0, (until - at).total_seconds())


def _coming(onboarding: Document) -> list[str]:
    status = onboarding["status"]
    return [] if status in ENDED else [str(s) for s in WAY[WAY.index(Status(status)) + 1 :]]


def _what(onboarding: Document, width: int, marks: Marks) -> str:
    """Return what happens in the present state: a bar while training, else a sentence."""
    progress = onboarding["progress"]
    if onboarding["status"] == Status.TRAINING and progress and progress["state"] == "training":
        words = _step_beside_bar(progress)
        room = min(MOST_BAR, width - len(words) - 2)
        if room < LEAST_BAR:
            return words
        return f"{bar(progress['step'], progress['steps'], room, marks)}  {words}"
    if onboarding["status"] == Status.TRAINING and progress:
        return DOING[progress["state"]]
    return onboarding["waiting_for"] or MEANING[onboarding["status"]]


def _step(onboarding: Document) -> str:
    """Return what a host does: `step 125 of 250, loss 0.0831, 10.4 steps/s, about 12 s left`."""
    progress = onboarding["progress"]
    if not progress:
        return ""
    if progress["state"] != "training":
        return DOING[progress["state"]]
    speed = progress["steps_per_second"]
    return ", ".join(
        [
            f"step {progress['step']} of {progress['steps']}",
            *_loss(progress),
            *([f"{speed:.1f} steps/s"] if speed is not None else []),
            *_left(progress),
        ]
    )


def _step_beside_bar(progress: Document) -> str:
    numbers = f"{progress['step']}/{progress['steps']}"
    return ", ".join([numbers, *_loss(progress), *_left(progress)])


def _loss(progress: Document) -> list[str]:
    return [] if progress["loss"] is None else [f"loss {progress['loss']:.4f}"]


def _left(progress: Document) -> list[str]:
    eta = progress["eta_seconds"]
    if eta is None:
        return []
    return [f"about {round(eta)} s left" if eta < 100 else f"about {span(eta)} left"]


def _tenth(onboarding: Document | None) -> tuple[str, int] | None:
    """Return what must change for a new line: the host's state, and each tenth of the steps."""
    if onboarding is None or not onboarding["progress"]:
        return None
    progress = onboarding["progress"]
    return progress["state"], TENTHS * progress["step"] // max(1, progress["steps"])


def _named_images(onboarding: Document) -> list[str]:
    progress = onboarding["progress"]
    return [*progress["previews"], *progress["samples"]] if progress else []


def _consent(onboarding: Document) -> list[str]:
    """Return who allowed the use of the photos, and when."""
    consent = onboarding.get("consent")
    if not consent:
        return []
    return [f"consent of {consent['given_by']}, {consent['given_at'][:10]}"]


def _photos(onboarding: Document | None) -> list[str]:
    """Return what is to be told of the photos: which are left out, which could be better.

    Nothing when training uses all of them and none could be better.
    """
    photos = onboarding.get("photos") if onboarding else None
    if not photos:
        return []
    left_out, lines = _each(photos["left_out"], "that cannot be used"), []
    if left_out:
        offered = counted(photos["used"] + len(photos["left_out"]), "photo")
        used = f"{photos['used']} of {offered} used"
        lines = [f"{used}; {left_out[0]}"] if len(left_out) == 1 else [used, *left_out]
    notes = _each(photos.get("notes", {}), "that could be better")
    return [*lines, *notes, *photos.get("advice", [])]


def _each(told: Mapping[str, str], what: str) -> list[str]:
    """Return a line for each of the first few photos, and one for the others."""
    lines = [f"{name}: {words}" for name, words in told.items()]
    more = len(lines) - MOST_PHOTOS
    if more <= 1:
        return lines
    return [*lines[:MOST_PHOTOS], f"and {counted(more, 'more photo')} {what}"]


def _images(onboarding: Document, saved: Mapping[str, str]) -> list[str]:
    names = _named_images(onboarding)
    earlier = len(names) - MOST_IMAGES
    lines = [f"      and {earlier} earlier"] if earlier > 0 else []
    return [*lines, *(f"      {_image(name, saved)}" for name in names[-MOST_IMAGES:])]


def _image(name: str, saved: Mapping[str, str]) -> str:
    """Return an image's line: `step-000050.png` is a preview, `00.png` a sample."""
    stem = name.removesuffix(".png")
    if stem.startswith("step-"):
        what = f"preview at step {int(stem.removeprefix('step-'))}"
    else:
        what = f"sample {int(stem) + 1}"
    return f"{what}: {saved[name]}" if name in saved else what


def reasons(facts: Mapping[str, Any], *, said: str = "") -> list[str]:
    """Return what an error's facts tell of single photos and names beyond what was `said`."""
    photos = facts.get("photos")
    told = [f"{name}: {why}" for name, why in photos.items()] if isinstance(photos, dict) else []
    lines = [f"  {line}" for line in told if line not in said]
    lists = [(name, facts.get(name)) for name in ("missing", "wrong")]
    lines += [
        f"  {name}: {', '.join(map(str, v))}" for name, v in lists if isinstance(v, list) and v
    ]
    return lines


def _since_start(onboarding: Document, at: datetime) -> str:
    seconds = max(0.0, (at - from_iso(onboarding["created_at"])).total_seconds())
    return f"{span(seconds):>{TIME_WIDTH}}"

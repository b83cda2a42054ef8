"""Looking at photos before anything is sent, by the very code that Register and the API run."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from app.cli.exits import CommandFailed, Exit
from app.cli.photos import Photo
from atelier.contracts.base_models import DEFAULT_BASE, DEFAULT_PRESET, preset
from atelier.contracts.dataset import MAX_UPLOAD_BYTES
from atelier.contracts.errors import PhotosRejected
from atelier.contracts.settings import PresetName
from atelier.photos.decoding import PhotoLimits
from atelier.photos.looking import Looked, SetLook, judge_set, refused, without_bodies
from atelier.photos.report import Reason, SetReport, crowded
from tasks.photo_sets import LIMITS, photo_limits


def report_on(paths: Sequence[Path], *, base: str | None, chosen: str | None) -> SetReport:
    """Return the report on files, for a base model and preset or the default ones."""
    report = crowded(len(paths), LIMITS)
    return report or _judged(_read(paths, _limits(base, chosen)))


def check_set(photos: Sequence[Photo], *, base: str | None, chosen: str | None) -> None:
    """Check that photos make a model.

    Raises:
        CommandFailed: they do not; facts name each photo that cannot be used, with why.
    """
    looks = SetLook(_limits(base, chosen), LIMITS)
    report = _judged(looks.look(photo.name, photo.body) for photo in photos)
    if not report.makes_a_model:
        raise CommandFailed(
            Exit.REFUSED,
            "; ".join(report.findings.values()),
            do="Replace the photos that are named and run the command again.",
            error=PhotosRejected.name(),
            facts={"photos": dict(report.refused)},
        )


def _limits(base: str | None, chosen: str | None) -> PhotoLimits:
    settings = preset(base or DEFAULT_BASE, PresetName(chosen or DEFAULT_PRESET))
    return photo_limits(settings.hyperparameters.resolution)


def _judged(looked: Iterable[Looked]) -> SetReport:
    return judge_set(without_bodies(looked), LIMITS)[0]


def _read(paths: Sequence[Path], limits: PhotoLimits) -> Iterator[Looked]:
    looks = SetLook(limits, LIMITS)
    for path in paths:
        size = path.stat().st_size
        if size > MAX_UPLOAD_BYTES:
            detail = f"{size:,} bytes; at most {MAX_UPLOAD_BYTES:,} are taken: save it smaller"
            yield refused(path.name, Reason.TOO_LARGE, detail)
        else:
            yield looks.look(path.name, path.read_bytes())

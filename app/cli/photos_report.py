"""`atelier photos DIR`: what a platform would say of a folder of photos, before any upload.

The photos are looked at here, by the very code that Register and the API run.
"""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from app.cli.commands import Desk
from app.cli.console import Console
from app.cli.exits import CommandFailed, Exit
from app.cli.photos import OTHER_IMAGES, TYPES, check_folder
from app.cli.progress import counted
from atelier.contracts.base_models import DEFAULT_BASE, DEFAULT_PRESET, preset
from atelier.contracts.dataset import MAX_UPLOAD_BYTES
from atelier.contracts.settings import PresetName
from atelier.photos.decoding import PhotoLimits
from atelier.photos.looking import Looked, SetLook, judge_set, refused, without_bodies
from atelier.photos.report import PhotoVerdict, Reason, SetReport, crowded
from tasks.photo_sets import LIMITS, photo_limits

MOST_NAME: Final = 32


def photos(given: Namespace, desk: Desk) -> Exit:
    """Look at a folder of photos and say of each whether a platform would use it."""
    paths = _paths(given.folder)
    chosen = PresetName(given.preset or DEFAULT_PRESET)
    resolution = preset(given.base or DEFAULT_BASE, chosen).hyperparameters.resolution
    report = crowded(len(paths), LIMITS)
    if report is None:
        looked = without_bodies(_looked(paths, photo_limits(resolution)))
        report, _ = judge_set(looked, LIMITS)
    desk.console.document(report.to_dict() | {"makes_a_model": report.makes_a_model})
    desk.console.say(*_lines(report, desk.console))
    return Exit.DONE if report.makes_a_model else Exit.REFUSED


def _paths(folder: Path) -> list[Path]:
    check_folder(folder)
    images = OTHER_IMAGES | set(TYPES)
    paths = sorted(
        path
        for path in folder.iterdir()
        if path.is_file() and not path.name.startswith(".") and path.suffix.lower() in images
    )
    if not paths:
        raise CommandFailed(
            Exit.REFUSED,
            f"{folder} holds no photo",
            do=f"Photos end in {', '.join(TYPES)}; convert others first.",
        )
    return paths


def _looked(paths: Sequence[Path], limits: PhotoLimits) -> Iterator[Looked]:
    looks = SetLook(limits, LIMITS)
    for path in paths:
        size = path.stat().st_size
        if size > MAX_UPLOAD_BYTES:
            detail = f"{size:,} bytes; at most {MAX_UPLOAD_BYTES:,} are taken: save it smaller"
            yield refused(path.name, Reason.TOO_LARGE, detail)
        else:
            yield looks.look(path.name, path.read_bytes())


def _lines(report: SetReport, console: Console) -> list[str]:
    marks = console.marks
    wide = min(MOST_NAME, max((len(photo.name) for photo in report.photos), default=0))
    lines = [_line(photo, wide, console) for photo in report.photos]
    whole = [*report.findings.values(), *report.advice.values()]
    if report.photos:
        used = f"{len(report.accepted)} of {counted(len(report.photos), 'photo')} would be used"
        verdict = "a model can be made of them" if report.makes_a_model else "they make no model"
        lines.append(f"{used}: {verdict}.")
    return [*lines, *(f"  {marks.arrow} {sentence}" for sentence in whole)]


def _line(photo: PhotoVerdict, wide: int, console: Console) -> str:
    marks = console.marks
    name = photo.name.ljust(wide)
    if not photo.accepted:
        return f"{marks.bad} {name}  {photo.detail}"
    notes = "; ".join(photo.notes.values())
    return f"{marks.done} {name}  {notes}".rstrip()
